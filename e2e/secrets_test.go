package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// dresses are the ways in which WeChat, or who stands in between, may repeat a
// secret.
func dresses(secret string) map[string]string {
	pair := []byte(appID + ":" + secret)
	unicode := ""
	for _, c := range []byte(secret) {
		unicode += fmt.Sprintf(`\u%04x`, c)
	}
	return map[string]string{
		"plain":      secret,
		"in a query": url.QueryEscape(secret),
		"percent":    strings.ToLower(fmt.Sprintf("%%%02X", secret[0])) + secret[1:],
		"JSON":       unicode,
		"base64":     base64.StdEncoding.EncodeToString([]byte(secret)),
		"for URLs":   base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"Basic":      base64.StdEncoding.EncodeToString(pair),
		"in between": base64.StdEncoding.EncodeToString([]byte("ab" + secret + "cd")),
	}
}

// Whatever an answer repeats, the client gets no secret, and an answer whose
// length is true.
func TestSecretsInAnswers(t *testing.T) {
	t.Parallel()
	for _, site := range []string{"weixin", "reverse_proxy UPSTREAM {\n transport weixin shop\n }"} {
		w := startWeChat(t)
		p := startCaddy(t, w, config{site: site})
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
		previous := w.currentToken()
		w.revoke()
		wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
		secrets := map[string]string{"token": w.currentToken(), "previous": previous, "AppSecret": appSecret}
		for what, secret := range secrets {
			for how, dress := range dresses(secret) {
				for _, form := range []string{`{"errcode":40013,"errmsg":"%s rid: 1-2"}`, `{"errcode":0,"x":"%s"}`, "<p>%s</p>", "%s"} {
					for _, variant := range []string{"", "chunked", "500", "file"} {
						checkEcho(t, w, p, strings.ReplaceAll(form, "%s", dress), dress, variant, what+", "+how)
					}
				}
			}
		}
	}
}

func checkEcho(t *testing.T, w *weChat, p *caddy, body, dress, variant, what string) {
	t.Helper()
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Echo", dress)
		rw.Header().Set("Location", "/x?access_token="+dress)
		rw.Header().Set("Trailer", "X-Late")
		switch variant {
		case "500":
			rw.WriteHeader(http.StatusInternalServerError)
		case "file":
			rw.Header().Set("Content-Disposition", `attachment; filename="x"`)
		}
		_, _ = io.WriteString(rw, body[:len(body)/2])
		if variant == "chunked" {
			_ = http.NewResponseController(rw).Flush()
		}
		_, _ = io.WriteString(rw, body[len(body)/2:])
		rw.Header().Set("X-Late", dress)
	})
	for _, path := range []string{"/cgi-bin/user/get", "/sns/userinfo?access_token=user"} {
		res, err := client.Get(p.url + path)
		if err != nil {
			t.Fatalf("%s, %s: %v", what, variant, err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || strings.Contains(string(got), dress) || !strings.Contains(string(got), "DACTED") {
			t.Errorf("%s, %s, %s: %q, %v", what, variant, path, strings.ReplaceAll(string(got), dress, "SECRET"), err)
		}
		for _, h := range []http.Header{res.Header, res.Trailer} {
			for name, values := range h {
				if strings.Contains(strings.Join(values, " "), dress) {
					t.Errorf("%s, %s, %s: it is in %s", what, variant, path, name)
				}
			}
		}
	}
}

// Long answers are passed on as they are, and the proxy's own tokens too.
func TestSecretsAreNotLookedForElsewhere(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n issue real\n}"})
	if a := get(t, tokenURL(p, appID, "x")); !strings.Contains(a.body, w.currentToken()) {
		t.Error("a real token is not issued")
	}
	long := strings.Repeat("x", 10_000) + w.currentToken()
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, long) })
	if a := get(t, p.url+"/cgi-bin/media/get"); a.body != long {
		t.Errorf("a long answer has %d bytes instead of %d", len(a.body), len(long))
	}
}

// What the token endpoint repeats is in no output.
func TestSecretsInTokenErrors(t *testing.T) {
	t.Parallel()
	for how, dress := range dresses(appSecret) {
		w := startWeChat(t)
		front := startTokenError(t, fmt.Sprintf(`{"errcode":40125,"errmsg":"invalid appsecret %s rid: 1-2"}`, dress))
		p := startCaddy(t, w, config{global: accountAt(front, "")})
		outputs := []string{get(t, p.url+"/cgi-bin/user/get").body, get(t, p.admin+"/weixin/accounts").body, p.logs.String()}
		for i, output := range outputs {
			if strings.Contains(output, dress) || !strings.Contains(output, "REDACTED") && i < 2 {
				t.Errorf("%s: output %d: %s", how, i, strings.ReplaceAll(output, dress, "SECRET")[:min(500, len(output))])
			}
		}
	}
}

// The token endpoint may repeat the token that it has handed out before, too.
func TestTokensInTokenErrors(t *testing.T) {
	t.Parallel()
	const token = "92_TokenTokenTokenTokenTokenToken"
	for how, dress := range dresses(token) {
		var fetches atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			switch {
			case !strings.HasSuffix(req.URL.Path, "token"):
				_, _ = io.WriteString(rw, `{"errcode":42001,"errmsg":"x"}`)
			case fetches.Add(1) > 1:
				fmt.Fprintf(rw, `{"errcode":50007,"errmsg":"no token after %s"}`, dress)
			default:
				fmt.Fprintf(rw, `{"access_token":%q,"expires_in":7200}`, token)
			}
		}))
		p := startCaddy(t, startWeChat(t), config{global: accountAt(server.URL, "")})
		for i, output := range []string{get(t, p.url+"/cgi-bin/user/get").body, get(t, p.admin+"/weixin/accounts").body, p.logs.String()} {
			if strings.Contains(output, dress) || !strings.Contains(output, "REDACTED") {
				t.Errorf("%s: output %d: %s", how, i, strings.ReplaceAll(output, dress, "SECRET")[:min(500, len(output))])
			}
		}
		server.Close()
	}
}

// startTokenError starts a WeChat that has one answer to everything.
func startTokenError(t *testing.T, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, body) }))
	t.Cleanup(server.Close)
	return server.URL
}
