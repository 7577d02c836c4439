package sandbox

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func platformRoutes() []route {
	cgiPath := check("cgi_path", invalidCGIPath, isText)
	return []route{
		post("/cgi-bin/clear_quota", "ends what the quotas have counted", (*call).clearQuota, `{"appid":"{appid}"}`,
			need("appid", appIDMissing)),
		post("/cgi-bin/openapi/quota/get", "how often a path may be called", (*call).quotaGet, `{"cgi_path":"/cgi-bin/user/get"}`, cgiPath),
		post("/cgi-bin/openapi/rid/get", "the call that a rid belongs to", (*call).ridGet, `{"rid":"{rid}"}`, need("rid", invalidRID)),
		get("/cgi-bin/get_api_domain_ip", "WeChat's addresses", (*call).addresses, "").orComponent(),
		get("/cgi-bin/getcallbackip", "the addresses that WeChat comes from", (*call).addresses, "").orComponent(),
		get("/cgi-bin/ticket/getticket", "a ticket for pages or cards", (*call).getTicket, "type=jsapi",
			check("type", invalidArgs, oneOf("jsapi", "wx_card", "2"))),
	}
}

// addresses answers with an address that is reserved for documentation.
func (c *call) addresses() (any, error) {
	answer := object{"ip_list": []string{"203.0.113.1"}}
	if c.wecom {
		return ok(answer), nil
	}
	return answer, nil
}

// clearQuota takes a token, so that its appid can only be the token's.
func (c *call) clearQuota() (any, error) {
	if c.text("appid") != c.account.AppID {
		return nil, refuse(invalidAppID)
	}
	if err := c.account.clearQuotas(c.now); err != nil {
		return nil, err
	}
	return okStatus, nil
}

// dailyLimit is what the sandbox calls the limit of any path. It is not
// enforced.
const dailyLimit = 10_000_000

// quotaGet tells how often the account has called a path today.
func (c *call) quotaGet() (any, error) {
	path := c.text("cgi_path")
	r := officialRoutes[path]
	switch {
	case r == nil:
		return nil, refuse(invalidCGIPath)
	case strings.HasPrefix(path, "/sns/"):
		return nil, refuse(foreignCGIPath)
	}
	used := c.account.used[path]
	return ok(object{"quota": object{"daily_limit": dailyLimit, "used": used, "remain": dailyLimit - used}}), nil
}

// ridEntry is what is remembered of a call that failed.
type ridEntry struct {
	account  *account
	at       time.Time
	url      string
	body     string
	response string
	clientIP string
}

const (
	maxRIDs    = 1000
	maxRIDBody = 4 << 10
)

// noteRID remembers a call that failed, its credentials excepted.
func (s *Server) noteRID(c *call, rid string, answer status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.account == nil {
		return // nobody could ask for it
	}
	s.rids.add(rid, ridEntry{
		account:  c.account,
		at:       c.now,
		url:      redactedURL(c.r.URL),
		body:     string(c.json[:min(len(c.json), maxRIDBody)]),
		response: string(encode(answer)),
		clientIP: clientIP(c.r),
	})
}

// redactedURL is an address without the token in it, as WeChat shows it.
func redactedURL(u *url.URL) string {
	query := u.Query()
	if query.Has("access_token") {
		query.Set("access_token", "***")
	}
	return u.Path + "?" + query.Encode()
}

var ridForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}$`)

func (c *call) ridGet() (any, error) {
	rid := c.text("rid")
	if !ridForm.MatchString(rid) {
		return nil, refuse(invalidRID)
	}
	entry, found := c.server.rids.get(rid)
	switch {
	case !found:
		return nil, refuse(ridMissing)
	case entry.account != c.account:
		return nil, refuse(foreignRID)
	}
	return ok(object{"request": object{
		"invoke_time":   entry.at.Unix(),
		"cost_in_ms":    1,
		"request_url":   entry.url,
		"request_body":  entry.body,
		"response_body": entry.response,
		"client_ip":     entry.clientIP,
	}}), nil
}

func itoa(n int) string { return strconv.Itoa(n) }
