package jssdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const testTicket = "ticket-that-is-not-shown"

// handler returns one for shop.example.com and *.shop.example.com.
func handler(t testing.TB) *Handler {
	return &Handler{
		Hosts:    mustHosts(t, "shop.example.com", "*.shop.example.com"),
		Identity: func(context.Context) (Identity, error) { return Identity{AppID: "wx0123456789abcdef"}, nil },
		Ticket:   func(context.Context) (string, error) { return testTicket, nil },
		Now:      func() time.Time { return time.Unix(1414587457, 999) },
		Nonce:    func() string { return "Wm3WZYTPz0wzccnW" },
	}
}

// ask sends a request over a real connection. headers are name, value, name, …
func ask(t testing.TB, h http.Handler, method, target string, headers ...string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	req, err := http.NewRequest(method, server.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body)+fmt.Sprint(res.Header), testTicket) {
		t.Error("the ticket is in the answer")
	}
	return res, string(body)
}

func encode(page string) string { return "/jssdk?url=" + url.QueryEscape(page) }

func TestAnswer(t *testing.T) {
	const page = "https://shop.example.com/a?b=c"
	signature := Sign(testTicket, "Wm3WZYTPz0wzccnW", 1414587457, page)
	res, body := ask(t, handler(t), "GET", encode(page+"#/route"))
	want := `{"appId":"wx0123456789abcdef","timestamp":1414587457,"nonceStr":"Wm3WZYTPz0wzccnW","signature":"` + signature + `"}`
	if res.StatusCode != http.StatusOK || body != want {
		t.Errorf("%s\n%s\nwant %s", res.Status, body, want)
	}
	for name, value := range map[string]string{
		"Content-Type":                "application/json; charset=utf-8",
		"Cache-Control":               "no-store",
		"Vary":                        "Origin",
		"Access-Control-Allow-Origin": "",
	} {
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	res, body = ask(t, handler(t), "HEAD", encode(page))
	if res.StatusCode != http.StatusOK || body != "" || res.ContentLength != int64(len(want)) {
		t.Errorf("HEAD: %s, %d bytes, %q", res.Status, res.ContentLength, body)
	}
}

func TestAgent(t *testing.T) {
	h := handler(t)
	h.Identity = func(context.Context) (Identity, error) {
		return Identity{AppID: "ww0123456789abcdef", Agent: true, AgentID: 1000002}, nil
	}
	_, body := ask(t, h, "GET", encode("https://shop.example.com/"))
	signature := Sign(testTicket, "Wm3WZYTPz0wzccnW", 1414587457, "https://shop.example.com/")
	want := `{"appId":"ww0123456789abcdef","timestamp":1414587457,"nonceStr":"Wm3WZYTPz0wzccnW","signature":"` + signature + `","corpid":"ww0123456789abcdef","agentid":1000002}`
	if body != want {
		t.Errorf("%s\nwant %s", body, want)
	}
}

// What is signed is what the page has, whatever that is.
func TestSignedAddress(t *testing.T) {
	for raw, page := range map[string]string{
		"https%3A%2F%2Fshop.example.com":                               "https://shop.example.com",
		"https%3A%2F%2Fshop.example.com%2F%3Fa%3D1%26b%3D2":            "https://shop.example.com/?a=1&b=2",
		"https://shop.example.com/?a=1":                                "https://shop.example.com/?a=1",
		"https://shop.example.com/?q=a+b":                              "https://shop.example.com/?q=a+b",
		"https%3A%2F%2Fshop.example.com%2F%3Fq%3Da%2Bb":                "https://shop.example.com/?q=a+b",
		"https%3A%2F%2Fshop.example.com%2F%3Fq%3Da%2520b":              "https://shop.example.com/?q=a%20b",
		"https%3A%2F%2Fshop.example.com%2F%3Fq%3D%2523":                "https://shop.example.com/?q=%23",
		"https%3A%2F%2Fshop.example.com%2F%23%2Froute%3Furl%3Dx":       "https://shop.example.com/",
		"https%3A%2F%2Fshop.example.com%2F%25E5%2595%2586%3Fx%3D%25zz": "https://shop.example.com/%E5%95%86?x=%zz",
		"https%3A%2F%2Fshop.example.com%2F%E5%95%86":                   "https://shop.example.com/商",
		"HTTPS%3A%2F%2FShop.Example.com%3A443%2Fa%2F..%2Fb%2F%2Fc":     "HTTPS://Shop.Example.com:443/a/../b//c",
	} {
		res, body := ask(t, handler(t), "GET", "/jssdk?x=1&url="+raw+"&y=2")
		var a answer
		if err := json.Unmarshal([]byte(body), &a); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", raw, res.Status, body)
			continue
		}
		if a.Signature != Sign(testTicket, a.NonceStr, a.Timestamp, page) {
			t.Errorf("%s is not signed as %s", raw, page)
		}
	}
}

func TestRefusals(t *testing.T) {
	const good = "/jssdk?url=https://shop.example.com/"
	for name, c := range map[string]struct {
		method, target string
		headers        []string
		status         int
	}{
		"no query":                   {"GET", "/jssdk", nil, 400},
		"no url":                     {"GET", "/jssdk?uri=https://shop.example.com/", nil, 400},
		"an empty url":               {"GET", "/jssdk?url=", nil, 400},
		"a fragment alone":           {"GET", "/jssdk?url=%23x", nil, 400},
		"url twice":                  {"GET", good + "&url=https://evil.test/", nil, 400},
		"url twice, one in disguise": {"GET", good + "&ur%6c=https://evil.test/", nil, 400},
		"a url that is not encoded":  {"GET", "/jssdk?url=https://shop.example.com/100%", nil, 400},
		"another host":               {"GET", "/jssdk?url=https://evil.test/", nil, 403},
		"a host two labels down":     {"GET", "/jssdk?url=https://a.b.shop.example.com/", nil, 403},
		"another scheme":             {"GET", "/jssdk?url=ftp://shop.example.com/", nil, 403},
		"no address":                 {"GET", "/jssdk?url=shop", nil, 403},
		"a url encoded twice":        {"GET", "/jssdk?url=https%253A%252F%252Fshop.example.com%252F", nil, 403},
		"another origin":             {"GET", good, []string{"Origin", "https://evil.test"}, 403},
		"another origin, no url":     {"GET", "/jssdk", []string{"Origin", "https://evil.test"}, 403},
		"an origin that is none":     {"GET", good, []string{"Origin", "null"}, 403},
		"an empty origin":            {"GET", good, []string{"Origin", ""}, 403},
		"two origins":                {"GET", good, []string{"Origin", "https://shop.example.com", "Origin", "https://shop.example.com"}, 403},
		"another site":               {"GET", good, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another site, HEAD":         {"HEAD", good, []string{"Sec-Fetch-Site", "Cross-Site"}, 403},
		"a preflight of another":     {"OPTIONS", good, []string{"Origin", "https://evil.test", "Access-Control-Request-Method", "GET"}, 403},
		"POST":                       {"POST", good, nil, 405},
		"PUT":                        {"PUT", good, []string{"Origin", "https://shop.example.com"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			h := handler(t)
			h.Ticket = func(context.Context) (string, error) {
				t.Error("a ticket is fetched")
				return "", errors.New("no")
			}
			res, body := ask(t, h, c.method, c.target, c.headers...)
			if res.StatusCode != c.status {
				t.Errorf("%s %s, want %d", res.Status, body, c.status)
			}
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Vary") != "Origin" {
				t.Errorf("the header is %v", res.Header)
			}
			if c.status == 403 && res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("another origin may read it")
			}
			if c.status == 405 && res.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("Allow: %s", res.Header.Get("Allow"))
			}
			var e struct {
				Errcode int
				Errmsg  string
			}
			if c.method != "HEAD" && (json.Unmarshal([]byte(body), &e) != nil || e.Errcode == 0 || !strings.HasPrefix(e.Errmsg, "weixin proxy: ")) {
				t.Errorf("the answer is %s", body)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	const good = "/jssdk?url=https://shop.example.com/"
	for name, headers := range map[string][]string{
		"its own":                 {"Origin", "https://shop.example.com"},
		"a name below":            {"Origin", "https://m.shop.example.com:8443", "Sec-Fetch-Site", "cross-site"},
		"without Origin":          {"Sec-Fetch-Site", "same-origin"},
		"a sibling":               {"Sec-Fetch-Site", "same-site"},
		"typed into the browser":  {"Sec-Fetch-Site", "none"},
		"a server's, no headers":  {},
		"a page without metadata": {"Referer", "https://evil.test/"},
	} {
		t.Run(name, func(t *testing.T) {
			res, body := ask(t, handler(t), "GET", good, headers...)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("%s %s", res.Status, body)
			}
			want := ""
			if len(headers) > 0 && headers[0] == "Origin" {
				want = headers[1]
			}
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("allowed is %q, want %q", got, want)
			}
		})
	}
	// A page of the right host can read why it is refused.
	res, _ := ask(t, handler(t), "GET", "/jssdk?url=https://evil.test/", "Origin", "https://shop.example.com")
	if res.StatusCode != 403 || res.Header.Get("Access-Control-Allow-Origin") != "https://shop.example.com" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
}

func TestPreflight(t *testing.T) {
	res, body := ask(t, handler(t), "OPTIONS", "/jssdk", "Origin", "https://shop.example.com",
		"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization,x-requested-with")
	if res.StatusCode != http.StatusNoContent || body != "" {
		t.Errorf("%s %q", res.Status, body)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://shop.example.com",
		"Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
		"Access-Control-Allow-Headers": "authorization,x-requested-with",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if vary := strings.Join(res.Header["Vary"], ", "); vary != "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" {
		t.Errorf("Vary: %s", vary)
	}
	res, _ = ask(t, handler(t), "OPTIONS", "/jssdk")
	if res.StatusCode != http.StatusNoContent || res.Header.Get("Allow") != "GET, HEAD, OPTIONS" || res.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("without Origin: %s %v", res.Status, res.Header)
	}
}

func TestTicketErrors(t *testing.T) {
	wechat := &Error{Status: http.StatusBadGateway, Errcode: 48001, Errmsg: "api unauthorized rid: 1"}
	const none = `{"errcode":-1,"errmsg":"weixin proxy: there is no ticket at the moment"}`
	for name, c := range map[string]struct {
		ticket string
		err    error
		status int
		body   string
	}{
		"WeChat's own":          {"", wechat, 502, `{"errcode":48001,"errmsg":"api unauthorized rid: 1"}`},
		"WeChat's own, wrapped": {"", fmt.Errorf("fetch: %w", wechat), 502, `{"errcode":48001,"errmsg":"api unauthorized rid: 1"}`},
		"any other":             {"", errors.New(testTicket), 503, none},
		"no ticket":             {"", nil, 503, none},
		"one beside an error":   {testTicket, context.DeadlineExceeded, 503, none},
		"an error of no status": {"", &Error{Errcode: 1, Errmsg: testTicket}, 503, none},
	} {
		t.Run(name, func(t *testing.T) {
			for _, part := range []string{"ticket", "identity"} {
				h := handler(t)
				if part == "ticket" {
					h.Ticket = func(context.Context) (string, error) { return c.ticket, c.err }
				} else if c.err != nil {
					h.Identity = func(context.Context) (Identity, error) { return Identity{}, c.err }
				} else {
					continue
				}
				res, body := ask(t, h, "GET", "/jssdk?url=https://shop.example.com/", "Origin", "https://shop.example.com")
				if res.StatusCode != c.status || body != c.body {
					t.Errorf("%s: %s %s", part, res.Status, body)
				}
				if res.Header.Get("Access-Control-Allow-Origin") == "" {
					t.Error("the page cannot read it")
				}
			}
		})
	}
}

// The request's context reaches who makes the ticket, and nothing is used twice.
func TestDefaults(t *testing.T) {
	h := handler(t)
	h.Now, h.Nonce = nil, nil
	type key struct{}
	h.Ticket = func(ctx context.Context) (string, error) { return ctx.Value(key{}).(string), nil }
	var nonces []string
	for range 2 {
		req := httptest.NewRequest("GET", "/jssdk?url=https://shop.example.com/", nil)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req.WithContext(context.WithValue(req.Context(), key{}, testTicket)))
		var a answer
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if age := time.Since(time.Unix(a.Timestamp, 0)); age < 0 || age > time.Minute {
			t.Errorf("the timestamp is %v old", age)
		}
		if a.Signature != Sign(testTicket, a.NonceStr, a.Timestamp, "https://shop.example.com/") {
			t.Error("the signature is wrong")
		}
		nonces = append(nonces, a.NonceStr)
	}
	if len(nonces[0]) < 16 || len(nonces[0]) > 32 || nonces[0] == nonces[1] {
		t.Errorf("the nonces are %q", nonces)
	}
}

func FuzzPage(f *testing.F) {
	for _, page := range []string{"https://shop.example.com/", "https://evil.test/", `https://a\b`, "http://[::1]:1", "https://xn--/"} {
		f.Add(page)
	}
	h := mustHosts(f, "shop.example.com", "*.shop.example.com")
	f.Fuzz(func(t *testing.T, page string) {
		if !h.ContainPage(page) {
			return
		}
		// A browser's host: what stands between the slashes.
		_, rest, _ := strings.Cut(page, "://")
		if end := strings.IndexAny(rest, `/\?#`); end >= 0 {
			rest = rest[:end]
		}
		host, _, _ := strings.Cut(strings.ToLower(rest), ":")
		if !strings.HasSuffix(host, "shop.example.com") && isASCII(host) && !strings.Contains(host, "%") {
			t.Errorf("%q is contained", page)
		}
	})
}
