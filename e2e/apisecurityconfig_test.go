package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The paths may be others than the documented ones, and are matched as Caddy does.
func TestAPISecurityPaths(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	p := s.start("paths /wxa/new/* *risky", config{})
	for path, sealed := range map[string]bool{riskPath: false, "/wxa/new/api": true, "/WXA/New/API": true, "/cgi-bin/risky": true, "/wxa/newer": false} {
		before := len(s.opened())
		a := post(t, p.url+path, riskBody)
		if got := len(s.opened()) > before; got != sealed {
			t.Errorf("%s: encrypted is %v: %s", path, got, a)
		}
	}
	// The documented ones, with what is not theirs alone.
	p = s.start("", config{})
	for _, path := range []string{"/cgi-bin/express/intracity/createstore", "/datacube/getweanalysisappiduserportrait", "/cgi-bin/clear_quota", "/wxa/business/getuserphonenumber"} {
		wantPlain(t, post(t, p.url+path, "{}"), riskAnswer)
	}
}

// While the platform's certificate changes, answers are taken that the outgoing
// one verifies, and the log says so once.
func TestAPISecurityCertificateChange(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	change := func(a *sealedAnswer) { a.serial, a.signer, a.deprecated = nextSN, s.next, platformSN }
	s.set(func() { s.alter = change })
	p := s.start("", config{})
	for range 3 {
		wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	}
	lines := p.logged("the platform's certificate changes, and only the outgoing one is configured: download the new one from the console, and add it to api_security with another line verify <number> {file./etc/wechat-new.pem}, for example")
	if len(lines) != 1 || lines[0]["level"] != "warn" || lines[0]["verified_by"] != platformSN || lines[0]["new"] != nextSN || lines[0]["account"] != "shop" {
		t.Errorf("got %v", lines)
	}
	// With both of them there is nothing to say.
	p = s.start("verify "+nextSN+" {env.NEXT_PEM}", config{})
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	s.set(func() {
		s.alter = func(a *sealedAnswer) { change(a); a.signer = s.cert }
	})
	wantRefused(t, post(t, p.url+riskPath, riskBody), "signature")
	s.set(func() { s.alter = nil })
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	if strings.Contains(p.logs.String(), "certificate changes") {
		t.Error("there is a warning")
	}
}

// What is wrong with the options is said with the line and what to write.
func TestAPISecurityValidateRefuses(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	good := []string{"key sn1 {env.API_KEY}", "sign {env.API_PEM}", "verify n1 {env.PLATFORM_PEM}"}
	with := func(i int, line string) []string {
		lines := slices.Clone(good)
		lines[i] = line
		return lines
	}
	sm4 := base64.StdEncoding.EncodeToString(s.key[:16])
	for name, c := range map[string]struct {
		lines    []string
		line     int // of the Caddyfile
		mentions []string
	}{
		"right":                      {good, 0, nil},
		"a number of the key":        {with(1, "sign sn2 {env.API_PEM}"), 0, nil},
		"no key":                     {good[1:], 9, []string{"key <sn> {env.API_KEY}"}},
		"no private key":             {[]string{good[0], good[2]}, 9, []string{"sign {file./run/secrets/api.pem}"}},
		"no certificate":             {good[:2], 9, []string{"verify <number>"}},
		"no number":                  {with(0, "key {env.API_KEY}"), 7, []string{"key <sn> {env.API_KEY}"}},
		"SM4":                        {with(0, "key sn1 {env.SM4}"), 7, []string{"SM4", "AES256_GCM"}},
		"no base64":                  {with(0, "key sn1 {env.NO_BASE64}"), 7, []string{"32 bytes", "base64"}},
		"empty":                      {with(0, "key sn1 {env.NOT_SET}"), 7, []string{"NOT_SET", "--envfile"}},
		"empty number":               {with(0, "key {env.NOT_SET} {env.API_KEY}"), 7, []string{"NOT_SET"}},
		"missing file":               {with(1, "sign {file./does/not/exist}"), 8, []string{"/does/not/exist"}},
		"certificate in the place":   {with(1, "sign {env.PLATFORM_PEM}"), 8, []string{"RSA private key", "PKCS#1 or PKCS#8"}},
		"private key in the place":   {with(2, "verify n1 {env.API_PEM}"), 9, []string{"n1", "private key"}},
		"no PEM":                     {with(2, "verify n1 {env.NO_BASE64}"), 9, []string{"n1", "{file./etc/wechat.pem}"}},
		"certificate without number": {with(2, "verify {env.PLATFORM_PEM}"), 9, []string{"verify <number>"}},
		"certificate twice":          {append(slices.Clone(good), "verify n1 {env.NEXT_PEM}"), 10, []string{"n1", "twice"}},
		"key twice":                  {append(slices.Clone(good), good[0]), 10, []string{"twice"}},
		"path that is none":          {append(slices.Clone(good), "paths wxa/x"), 10, []string{"wxa/x", "leading slash"}},
		"value of plain_answers":     {append(slices.Clone(good), "plain_answers yes"), 10, []string{"no value"}},
		"unknown option":             {append(slices.Clone(good), "private_key x"), 10, []string{"option private_key", "key, sign, verify, paths, plain_answers"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := "{\n\tweixin {\n\t\taccount shop {\n\t\t\tappid wx1\n\t\t\tsecret x\n\t\t\tapi_security {\n"
			text += strings.Join(c.lines, "\n") + "\n}\n}\n}\n}\n:8080 {\nweixin\n}\n"
			out := validate(t, text, c.line, append(s.env(), "SM4="+sm4, "NO_BASE64=CANARY"))
			for _, m := range c.mentions {
				if !strings.Contains(out, m) {
					t.Errorf("%q is not mentioned: %s", m, out)
				}
			}
			for _, secret := range append(s.w.secrets, "CANARY", sm4) {
				if strings.Contains(out, secret) {
					t.Error("a secret is shown")
				}
			}
		})
	}
}

// The same in JSON, with keys in files and in the other form.
func TestAPISecurityInJSON(t *testing.T) {
	t.Parallel()
	s := startSecureWeChat(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + file + "}"
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.app)
	if err != nil {
		t.Fatal(err)
	}
	sign := write("api.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	verify := write("wechat.pem", certificateOf(t, s.cert)+"\n")
	right := fmt.Sprintf(`"key_sn":%q,"key":%q,"sign":%q,"verify":{%q:%q}`, securityKeySN, write("key", s.keyText()+"\n"), sign, platformSN, verify)
	for name, c := range map[string]struct {
		options  string
		mentions []string
	}{
		"right":                {right, nil},
		"a list for a map":     {`"verify":["CANARY"]`, []string{"account shop: api_security", `"verify": {"`}},
		"a misspelt option":    {right + `,"path":["/x"]`, []string{"account shop: api_security", "unknown option path", "paths"}},
		"a path that is none":  {right + `,"paths":["x"]`, []string{"account shop", "leading slash"}},
		"no certificate":       {strings.Replace(right, `"verify"`, `"plain_answers":true,"verify"`, 1)[:strings.Index(right, `,"verify"`)], []string{"verify <number>"}},
		"one number twice":     {strings.Replace(right, `"verify":{`, fmt.Sprintf(`"verify":{"{env.PLATFORM_SN}":%q,`, verify), 1), []string{platformSN, "twice"}},
		"a number with spaces": {`"key_sn":"a b",` + right[strings.Index(right, `"key":`):], []string{"number of key"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"admin":{"disabled":true},"apps":{"weixin":{"accounts":{"shop":{"appid":"wx1","secret":"x","api_security":{` + c.options + `}}}}}}`
			file := filepath.Join(t.TempDir(), "caddy.json")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, ok := run(t, []string{"PLATFORM_SN=" + platformSN}, "validate", "--config", file)
			if ok != (c.mentions == nil) {
				t.Errorf("accepted is %v: %s", ok, out)
			}
			for _, m := range c.mentions {
				if !strings.Contains(strings.ReplaceAll(out, `\"`, `"`), m) {
					t.Errorf("%q is not mentioned: %s", m, out)
				}
			}
			for _, secret := range append(s.w.secrets, "CANARY") {
				if strings.Contains(out, secret) {
					t.Error("a secret is shown")
				}
			}
		})
	}
	global := fmt.Sprintf("account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n api_security {\n key %s {env.API_KEY}\n sign sn2 %s\n verify %s %s\n }\n }", securityKeySN, sign, platformSN, verify)
	p := startCaddy(t, s.w, config{global: global, env: s.env()})
	wantPlain(t, post(t, p.url+riskPath, riskBody), riskAnswer)
	if got := s.opened()[0].header.Get("Wechatmp-Serial"); got != "sn2" {
		t.Errorf("the key's number is %q", got)
	}
}
