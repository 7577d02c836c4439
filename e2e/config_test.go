package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var sandboxEnv = []string{"WEIXIN_APPID=" + appID, "WEIXIN_SECRET=" + appSecret}

// wrongEnv is the environment in which configurations are wrong.
var wrongEnv = []string{
	"ORDERS_KEY=the-key-of-orders-0123", "SHORT_KEY=fifteen-letters", "SHOP_SECRET=0123456789abcdef0123456789abcdef",
	`QUOTED="0123456789abcdef0123456789abcdef"`, "CURLY=“wx0123456789abcdef”", "CORNER=「0123456789abcdef0123456789abcdef」",
	"SHOP_APPID=wx0123456789abcdef", "API=https://api.weixin.qq.com/cgi-bin/", "REDIS_URL=",
}

// What is wrong with a configuration is said with file, line and what to write
// instead.
func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	site := "\n:8080 {\n\tweixin\n}\n"
	account := func(lines string) string {
		return "{\n\tweixin {\n\t\taccount shop {\n" + lines + "\t\t}\n\t}\n}\n" + site
	}
	caller := func(lines string) string {
		return "{\n\tweixin {\n\t\taccount shop {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t\tcaller orders {\n" + lines + "\t\t}\n\t}\n}\n" + site
	}
	for _, c := range []struct {
		name, caddyfile string
		line            string
		mentions        []string
	}{
		{"no appid", account("\t\t\tsecret x\n"), "5", []string{"shop", "appid {env.WEIXIN_APPID}"}},
		{"no secret", account("\t\t\tappid wx1\n"), "5", []string{"shop", "secret {env.WEIXIN_SECRET}"}},
		{"empty appid", account("\t\t\tappid\n\t\t\tsecret x\n"), "4", []string{"appid"}},
		{"two values", account("\t\t\tappid wx1 wx2\n\t\t\tsecret x\n"), "4", []string{"one value"}},
		{"appid twice in an account", account("\t\t\tappid wx1\n\t\t\tappid wx2\n"), "5", []string{"twice"}},
		{"unknown option of an account", account("\t\t\tappid wx1\n\t\t\tpassword x\n"), "5", []string{"option password", "appid, secret, token, upstream, issue"}},
		{"unknown token method", account("\t\t\tappid wx1\n\t\t\ttoken new\n"), "5", []string{"new", "stable or classic"}},
		{"upstream that is no URL", account("\t\t\tappid wx1\n\t\t\tupstream api.weixin.qq.com\n"), "5", []string{"https://api.weixin.qq.com"}},
		{"resolver that is a name", account("\t\t\tappid wx1\n\t\t\tresolver dns.example\n"), "5", []string{"dns.example", "223.5.5.5"}},
		{"resolver of all that is none", "{\n\tweixin {\n\t\tresolver 1.2.3\n\t}\n}\n" + site, "3", []string{"1.2.3", "223.5.5.5"}},
		{"resolver by a placeholder that is none", account("\t\t\tappid wx1\n\t\t\tresolver {env.HOME}\n\t\t\tsecret x\n"), "5", []string{"shop", "223.5.5.5"}},
		{"upstream with a query", account("\t\t\tappid wx1\n\t\t\tupstream https://x/?a=b\n"), "5", []string{"https://api.weixin.qq.com"}},
		{"empty placeholder", account("\t\t\tappid {env.WEIXIN_NOT_SET}\n\t\t\tsecret x\n"), "4", []string{"shop", "WEIXIN_NOT_SET", "--envfile"}},
		{"missing file", account("\t\t\tappid wx1\n\t\t\tsecret {file./does/not/exist}\n"), "5", []string{"shop", "/does/not/exist"}},
		{"appid twice", "{\n\tweixin {\n\t\taccount a {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t\taccount b {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t}\n}\n" + site, "8", []string{"wx1", "account a"}},
		{"account twice", "{\n\tweixin {\n\t\taccount a {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t\taccount a {\n\t\t\tappid wx2\n\t\t\tsecret x\n\t\t}\n\t}\n}\n" + site, "7", []string{"twice"}},
		{"unknown option", "{\n\tweixin {\n\t\tacount shop\n\t}\n}\n" + site, "3", []string{"option acount", "account"}},
		{"unknown store", "{\n\tweixin {\n\t\tstore nothing\n\t}\n}\n" + site, "3", []string{"weixin.stores.nothing"}},
		{"redis without a URL", "{\n\tweixin {\n\t\tstore redis\n\t}\n}\n" + site, "3", []string{"redis://127.0.0.1:6379/0"}},
		{"redis with a URL that is none", "{\n\tweixin {\n\t\tstore redis localhost:6379\n\t}\n}\n" + site, "3", []string{"redis://127.0.0.1:6379/0"}},
		{"redis with an unknown parameter", "{\n\tweixin {\n\t\tstore redis redis://localhost:6379?tls=yes\n\t}\n}\n" + site, "3", []string{"tls"}},
		{"redis with an unknown option", "{\n\tweixin {\n\t\tstore redis redis://localhost:6379 {\n\t\t\tdatabase 1\n\t\t}\n\t}\n}\n" + site, "4", []string{"option database", "prefix, timeout"}},
		{"storage with options", "{\n\tweixin {\n\t\tstore storage {\n\t\t\troot /x\n\t\t}\n\t}\n}\n" + site, "4", []string{"store storage <module>"}},
		{"no account", "{\n\tweixin\n}\n" + site, "2", []string{"account <name>"}},
		{"unknown account in the directive", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin shopp\n}\n", "14", []string{"shopp", "shop"}},
		{"unknown option of the directive", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tallow 10.0.0.0/8\n\t}\n}\n", "15", []string{"option allow ", "allow_ips"}},
		{"address that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tallow_ips 10.0.0\n\t}\n}\n", "15", []string{"10.0.0", "private_ranges"}},
		{"size that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tbody_limit much\n\t}\n}\n", "15", []string{"much", "128MiB"}},
		{"round tripper that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tround_tripper http3\n\t}\n}\n", "15", []string{"http3", "http1 or net_http"}},
		{"round tripper that is gone", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tround_tripper http2\n\t}\n}\n", "15", []string{"http2", "http1 or net_http"}},
		{"timeout that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\ttimeout 0\n\t}\n}\n", "15", []string{"30s"}},
		{"unknown way to issue", account("\t\t\tappid wx1\n\t\t\tissue some\n"), "5", []string{"some", "virtual, real or off"}},
		{"caller without key", caller("\t\t\taccounts shop\n"), "9", []string{"orders", "key {env.ORDERS_KEY}"}},
		{"caller with an empty key", caller("\t\t\tkey {env.NOT_SET}\n"), "8", []string{"orders", "NOT_SET"}},
		{"caller of an unknown account", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\taccounts shop shopp\n"), "9", []string{"orders", "shopp"}},
		{"caller with no accounts", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\taccounts\n"), "9", []string{"accounts shop"}},
		{"caller with a path that is none", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tallow cgi-bin/*\n"), "9", []string{"cgi-bin/*", "leading slash"}},
		{"caller with an address that is none", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tips here\n"), "9", []string{"here", "10.0.0.0/8"}},
		{"unknown option of a caller", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tpaths /x\n"), "9", []string{"option paths", "key, accounts, allow, ips"}},
		{"two callers with one key", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t}\n\t\tcaller zoo {\n\t\t\tkey {env.ORDERS_KEY}\n"), "11", []string{"caller orders", "key of its own"}},
		{"caller twice", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t}\n\t\tcaller orders {\n\t\t\tkey {env.ORDERS_KEY}\n"), "10", []string{"twice"}},
		{"caller with a short key", caller("\t\t\tkey fifteen-letters\n"), "8", []string{"15 characters", "16", "openssl rand"}},
		{"caller with a short key in the environment", caller("\t\t\tkey {env.SHORT_KEY}\n"), "8", []string{"orders", "15 characters"}},
		{"caller with the AppSecret", strings.Replace(caller("\t\t\tkey {env.SHOP_SECRET}\n"), "secret x", "secret {env.SHOP_SECRET}", 1), "8", []string{"caller orders", "AppSecret of account shop"}},
		{"caller with a placeholder of a shell's", caller("\t\t\tkey $ORDERS_KEY\n"), "8", []string{"{env.ORDERS_KEY}"}},
		{"secret with a placeholder of a shell's", account("\t\t\tappid wx1\n\t\t\tsecret ${WEIXIN_SECRET}\n"), "5", []string{"{env.WEIXIN_SECRET}"}},
		{"secret with a bare placeholder", account("\t\t\tappid wx1\n\t\t\tsecret {WEIXIN_SECRET}\n"), "5", []string{"{env.WEIXIN_SECRET}"}},
		{"appid with a shell's variable", account("\t\t\tappid $WEIXIN_APPID\n\t\t\tsecret x\n"), "4", []string{"{env.WEIXIN_APPID}"}},
		{"redis with a shell's variable", "{\n\tweixin {\n\t\tstore redis ${REDIS_URL}\n\t}\n}\n" + site, "3", []string{"{env.REDIS_URL}"}},
		{"redis with a variable that is not set", "{\n\tweixin {\n\t\taccount shop {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t\tstore redis {env.REDIS_URL}\n\t}\n}\n" + site, "7", []string{"environment variable REDIS_URL", "--envfile"}},
		{"redis with a password that is not set", "{\n\tweixin {\n\t\taccount shop {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t\tstore redis redis://:{env.REDIS_PW}@h/0\n\t}\n}\n" + site, "7", []string{"environment variable REDIS_PW"}},
		{"memcached", "{\n\tweixin {\n\t\tstore memcached 127.0.0.1:11211\n\t}\n}\n" + site, "3", []string{"memcached", "store storage or store redis"}},
		{"size with a space", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tbody_limit 128 MB\n\t}\n}\n", "15", []string{"write body_limit 128MB"}},
		{"time with a space", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\ttimeout 30 s\n\t}\n}\n", "15", []string{"write timeout 30s"}},
		{"secret in quotes", account("\t\t\tappid wx1\n\t\t\tsecret {env.QUOTED}\n"), "5", []string{"secret", "quotes"}},
		{"appid in curly quotes", account("\t\t\tappid {env.CURLY}\n\t\t\tsecret x\n"), "4", []string{"appid", "quotes"}},
		{"secret in corner brackets", account("\t\t\tappid wx1\n\t\t\tsecret {env.CORNER}\n"), "5", []string{"secret", "quotes"}},
		{"curly quotes in the file", account("\t\t\tappid “wx1”\n\t\t\tsecret x\n"), "4", []string{"appid", "quotes"}},
		{"appid and secret swapped", account("\t\t\tappid 0123456789abcdef0123456789abcdef\n\t\t\tsecret wx0123456789abcdef\n"), "4", []string{"swapped"}},
		{"appid and secret swapped in the environment", account("\t\t\tappid {env.SHOP_SECRET}\n\t\t\tsecret {env.SHOP_APPID}\n"), "4", []string{"swapped"}},
		{"upstream with a path of requests", account("\t\t\tappid wx1\n\t\t\tupstream https://api.weixin.qq.com/cgi-bin\n"), "5", []string{"/cgi-bin", "leave it out"}},
		{"upstream of all with a path of requests", "{\n\tweixin {\n\t\tupstream {env.API}\n\t\taccount shop {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t}\n}\n" + site, "3", []string{"/cgi-bin"}},
		{"full-width brace", "{\n\tweixin {\n\t\taccount shop ｛\n\t\t\tappid wx1\n\t\t｝\n\t}\n}\n" + site, "3", []string{"full-width ｛", "write {"}},
		{"full-width brace of the option", "{\n\tweixin ｛\n\t\taccount shop\n\t｝\n}\n" + site, "2", []string{"full-width ｛"}},
		{"full-width brace of the directive", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin ｛\n\t\ttimeout 1s\n\t｝\n}\n", "14", []string{"full-width ｛"}},
		{"full-width braces of a placeholder", account("\t\t\tappid ｛env.SHOP_APPID｝\n\t\t\tsecret x\n"), "4", []string{"full-width ｛"}},
		{"values after each other with a comma", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tallow /cgi-bin/*, /wxa/*\n"), "9", []string{"/cgi-bin/*,", "write a space"}},
		{"addresses with a Chinese comma", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tallow_ips 10.0.0.1，10.0.0.2\n\t}\n}\n", "15", []string{"write a space"}},
		{"names with a comma", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\thosts a.example,b.example\n\t}\n}\n", "15", []string{"write a space"}},
		{"a path with a query", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tallow /cgi-bin/tags/get?id=1\n"), "9", []string{"query", "the path alone"}},
		{"a key as in a header", caller("\t\t\tkey \"Bearer 0123456789abcdef\"\n"), "8", []string{"Bearer", "leave it out"}},
		{"an option with a colon", account("\t\t\tappid: wx1\n\t\t\tsecret x\n"), "4", []string{"option appid", "write appid, a space and the value"}},
		{"an option with an equals sign", account("\t\t\tappid wx1\n\t\t\tsecret=CANARY\n"), "5", []string{"option secret", "write secret, a space and the value"}},
		{"an equals sign between", account("\t\t\tappid = wx1\n\t\t\tsecret x\n"), "4", []string{"like appid {env.WEIXIN_APPID}"}},
		{"no space before the brace", "{\n\tweixin {\n\t\taccount shop{\n\t\t\tappid wx1\n\t\t}\n\t}\n}\n" + site, "3", []string{"write account shop {"}},
		{"an account in a site", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\taccount shop\n\t}\n}\n", "15", []string{"option account", "belongs into the global option"}},
		{"an appid outside of an account", "{\n\tweixin {\n\t\tappid wx1\n\t}\n}\n" + site, "3", []string{"belongs into an account"}},
		{"a site's option in the global one", "{\n\tweixin {\n\t\tallow_ips 10.0.0.0/8\n\t}\n}\n" + site, "3", []string{"belongs into the directive weixin"}},
		{"two global options", "{\n\tweixin {\n\t\taccount a {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t}\n\t}\n\tweixin {\n\t\taccount b {\n\t\t\tappid wx2\n\t\t\tsecret x\n\t\t}\n\t}\n}\n" + site, "8", []string{"one block"}},
		{"an original ID as the AppID", account("\t\t\tappid gh_0123456789ab\n\t\t\tsecret x\n"), "4", []string{"original ID", "begins with wx"}},
		{"an AppSecret as the AppID", account("\t\t\tappid {env.SHOP_SECRET}\n\t\t\tsecret x\n"), "4", []string{"form of an AppSecret", "begins with wx"}},
		{"an appid with a comma", account("\t\t\tappid wx1,\n\t\t\tsecret x\n"), "4", []string{"','"}},
		{"the same appid by a placeholder", "{\n\tweixin {\n\t\taccount b {\n\t\t\tappid {env.SHOP_APPID}\n\t\t\tsecret x\n\t\t}\n\t\taccount a {\n\t\t\tappid wx0123456789abcdef\n\t\t\tsecret x\n\t\t}\n\t}\n}\n" + site, "4", []string{"account a"}},
		{"an upstream whose port is none", account("\t\t\tappid wx1\n\t\t\tupstream https://api.weixin.qq.com:99999\n"), "5", []string{"port between 1 and 65535"}},
		{"a storage that there is not", "{\n\tweixin {\n\t\tstore storage mysql\n\t}\n}\n" + site, "3", []string{"caddy.storage.mysql", "file_system"}},
		{"a full-width star", caller("\t\t\tkey {env.ORDERS_KEY}\n\t\t\tallow /cgi-bin/＊\n"), "9", []string{"full-width", "ASCII"}},
		{"a matcher behind the account", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin shop /cgi-bin/*\n}\n", "14", []string{"weixin /cgi-bin/* shop"}},
		{"a block that is none", account("\t\t\tappid wx1 {\n\t\t\t\tx\n\t\t\t}\n\t\t\tsecret x\n"), "4", []string{"leave it out"}},
		{"a caller in an account", account("\t\t\tappid wx1\n\t\t\tsecret x\n\t\t\tcaller orders {\n\t\t\t\tkey x\n\t\t\t}\n"), "6", []string{"behind the }"}},
		{"a key in an account", account("\t\t\tappid wx1\n\t\t\tkey CANARY\n"), "5", []string{"belongs into a caller"}},
		{"an upstream with a whole path", account("\t\t\tappid wx1\n\t\t\tupstream https://api.weixin.qq.com/cgi-bin/token\n"), "5", []string{"/cgi-bin", "leave it out"}},
		{"a comment behind the appid", account("\t\t\tappid wx0123456789abcdef#shop\n\t\t\tsecret x\n"), "4", []string{"'#'"}},
		{"a placeholder that ends too early", account("\t\t\tappid wx1\n\t\t\tsecret {env.SHOP_SECRET\n"), "5", []string{"brace too few"}},
		{"a placeholder that ends twice", account("\t\t\tappid wx1\n\t\t\tsecret {env.SHOP_SECRET}}\n"), "5", []string{"too many"}},
		{"a placeholder without braces", account("\t\t\tappid wx1\n\t\t\tsecret env.SHOP_SECRET\n"), "5", []string{"{env.SHOP_SECRET}"}},
		{"a variable's name", account("\t\t\tappid WEIXIN_APPID\n\t\t\tsecret x\n"), "4", []string{"{env.WEIXIN_APPID}"}},
		{"a path in place of what is in it", account("\t\t\tappid wx1\n\t\t\tsecret /run/secrets/shop\n"), "5", []string{"{file./run/secrets/shop}"}},
		{"something to be filled in", account("\t\t\tappid wx1\n\t\t\tsecret <AppSecret>\n"), "5", []string{"angle brackets"}},
		{"a placeholder that nobody knows", account("\t\t\tappid wx1\n\t\t\tsecret {secrets.shop}\n"), "5", []string{"{file./path/of/it}"}},
		{"full-width colon", account("\t\t\tappid wx1\n\t\t\tsecret x\n\t\t\tupstream https：//api.weixin.qq.com\n"), "6", []string{"full-width ：", "write :"}},
		{"round tripper that is gone", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tround_tripper http2\n\t}\n}\n", "15", []string{"http2", "write http1 or net_http"}},
		{"hosts with a scheme", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\thosts https://wx.example.com\n\t}\n}\n", "15", []string{"without scheme"}},
		{"hosts with every address", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\thosts 0.0.0.0\n\t}\n}\n", "15", []string{"0.0.0.0 cannot be"}},
		{"hosts twice", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\thosts a.example A.Example.\n\t}\n}\n", "15", []string{"twice"}},
		{"header that stays here", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tforward_headers X-A authorization\n\t}\n}\n", "15", []string{"Authorization", "leave it out"}},
		{"header of the connection", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\treverse_proxy localhost:1 {\n\t\ttransport weixin {\n\t\t\tforward_headers transfer-encoding\n\t\t}\n\t}\n}\n", "16", []string{"Transfer-Encoding"}},
		{"header twice", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tforward_headers X-A x-a\n\t}\n}\n", "15", []string{"X-A twice"}},
		{"headers by pattern", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin {\n\t\tforward_headers X-*\n\t}\n}\n", "15", []string{"write each one"}},
		{"unknown account of weixin_capture", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_capture shopp\n}\n", "14", []string{"shopp", "shop"}},
		{"unknown option of weixin_capture", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_capture {\n\t\tallow 10.0.0.0/8\n\t}\n}\n", "15", []string{"option allow of weixin_capture", "allow_ips"}},
		{"no global option", ":8081 {\n\tweixin\n}\n", "2", []string{"global option"}},
		{"status page with an argument", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_status shop\n}\n", "14", []string{"no argument but a matcher", "shop"}},
		{"status page with an unknown option", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_status {\n\t\treadonly\n\t}\n}\n", "15", []string{"option readonly ", "read_only, allow_ips, hosts"}},
		{"status page with a host that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_status {\n\t\thosts https://status.example.com\n\t}\n}\n", "15", []string{"without scheme"}},
		{"status page with a value for read_only", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_status {\n\t\tread_only yes\n\t}\n}\n", "15", []string{"no value"}},
		{"status page without accounts", ":8081 {\n\tweixin_status\n}\n", "2", []string{"global option"}},
		{"health with an argument", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_health shop\n}\n", "14", []string{"no argument but a matcher", "?account=<name>"}},
		{"health with an unknown option", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_health {\n\t\tallow 10.0.0.0/8\n\t}\n}\n", "15", []string{"option allow ", "write allow_ips"}},
		{"health with no address", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_health {\n\t\tallow_ips\n\t}\n}\n", "15", []string{"allow_ips 10.0.0.0/8"}},
		{"health with an address that is none", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\tweixin_health {\n\t\tallow_ips here\n\t}\n}\n", "15", []string{"private_ranges"}},
		{"health without accounts", ":8081 {\n\tweixin_health\n}\n", "2", []string{"global option"}},
		{"unknown account of the transport", account("\t\t\tappid wx1\n\t\t\tsecret x\n") + ":8081 {\n\treverse_proxy localhost:1 {\n\t\ttransport weixin shopp\n\t}\n}\n", "15", []string{"shopp", "shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte(c.caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, wrongEnv, "validate", "--config", file)
			if ok {
				t.Fatal("it was accepted")
			}
			_, failure, _ := strings.Cut(out, "Error: ")
			if failure == "" {
				failure = out
			}
			if !regexp.MustCompile(regexp.QuoteMeta(file) + ":" + c.line + `\b`).MatchString(failure) {
				t.Errorf("line %s is not named: %s", c.line, failure)
			}
			if strings.Contains(out, "0123456789abcdef0123456789abcdef") && !strings.Contains(c.caddyfile, "0123456789abcdef0123456789abcdef") {
				t.Errorf("a secret is shown: %s", out)
			}
			for _, m := range c.mentions {
				if !strings.Contains(failure, m) {
					t.Errorf("%q is not mentioned: %s", m, failure)
				}
			}
		})
	}
}

// caddy adapt, validate and fmt work on the example, and nothing of that
// touches the network: there is none at this address.
func TestExampleIsValid(t *testing.T) {
	t.Parallel()
	example := "../Caddyfile.example"
	for _, args := range [][]string{
		{"adapt", "--config", example, "--adapter", "caddyfile", "--validate"},
		{"validate", "--config", example, "--adapter", "caddyfile", "--envfile", "../sandbox.env"},
		{"fmt", example},
	} {
		env := sandboxEnv
		if args[0] == "validate" {
			env = nil
		}
		out, ok := run(t, append(env, "WEIXIN_UPSTREAM=http://192.0.2.1"), args...)
		if !ok {
			t.Errorf("caddy %s: %s", args[0], out)
		}
		if args[0] == "fmt" {
			text, err := os.ReadFile(example)
			if err != nil || out != string(text) {
				t.Error("Caddyfile.example is not formatted")
			}
		}
		if strings.Contains(out, appSecret) {
			t.Errorf("caddy %s shows the secret", args[0])
		}
	}
	out, ok := run(t, nil, "validate", "--config", example, "--adapter", "caddyfile")
	if ok || !strings.Contains(out, "WEIXIN_APPID") {
		t.Errorf("without an env file it says: %s", out)
	}
}

func TestListModules(t *testing.T) {
	t.Parallel()
	out, _ := run(t, nil, "list-modules")
	for _, module := range []string{
		"weixin", "http.handlers.weixin", "http.handlers.weixin_callback", "http.handlers.weixin_capture", "http.handlers.weixin_sandbox", "http.handlers.weixin_status", "http.handlers.weixin_health", "http.reverse_proxy.transport.weixin", "weixin.stores.storage", "weixin.stores.redis", "admin.api.weixin",
	} {
		if !strings.Contains(out, "\n"+module+"\n") {
			t.Errorf("%s is not listed", module)
		}
	}
}

// The README's first lines: the example, with the sandbox behind it.
func TestExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	w := startWeChat(t) // serves only to know the secrets
	proxy, wechat := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ports := strings.NewReplacer(":8080 {", "http://"+proxy+" {", "127.0.0.1:9080", wechat)
	p := startCaddy(t, w, config{
		override: strings.Replace(ports.Replace(string(text)), "{\n\tweixin {", "{\n\tadmin off\n\tdebug\n\tweixin {", 1),
		env:      []string{"WEIXIN_UPSTREAM=http://" + wechat},
	})
	// The sandbox is a site of the same Caddy: it may be asked for a token before it listens.
	if !eventually(func() bool { return get(t, "http://"+proxy+"/cgi-bin/user/get").status == http.StatusOK }) {
		t.Error("the example does not work")
	}
	wantOK(t, do(t, newRequest(t, http.MethodPost, "http://"+wechat+"/sandbox/accounts/"+appID+"/revoke", nil)))
	a := get(t, "http://"+proxy+"/cgi-bin/user/get?access_token=whatever&secret="+appSecret)
	wantOK(t, a)
	wantReplayed(t, a, "40001")
	if a := get(t, "http://"+proxy+"/status"); a.status != http.StatusOK || !strings.Contains(a.body, "<h2><bdi>demo</bdi></h2>") {
		t.Errorf("the status page is %s", a)
	}
	if !eventually(func() bool { return p.logs.contains("access_token=REDACTED") }) {
		t.Error("the access log does not mask the client's access_token")
	}
}
