package wechat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// A secret that is spelled in another way in a query.
var testCredentials = Credentials{ID: "wx0123456789abcdef", Secret: "0123/56789+bcdef&123=56789abcdef"}

// fetchFrom asks a server that answers with handler.
func fetchFrom(t *testing.T, source *TokenEndpoint, handler http.HandlerFunc) (Grant, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return source.Fetch(t.Context(), server.Client().Transport, mustParse(t, server.URL), testCredentials, false)
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func answerWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// checkNoSecret fails if an error shows the AppSecret in any of the ways in
// which errors are printed.
func checkNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	secret := testCredentials.Secret
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%v", e), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
				t.Errorf("the secret is in the error: %s", text)
			}
		}
	}
}

func TestTokenEndpointNamed(t *testing.T) {
	for name, want := range map[string]*TokenEndpoint{"": Stable, "stable": Stable, "classic": Classic} {
		if got := Official.TokenEndpoint(name); got != want {
			t.Errorf("TokenEndpoint(%q) = %v", name, got)
		}
	}
	for _, name := range []string{"Stable", "stabel", " ", "gettoken"} {
		if got := Official.TokenEndpoint(name); got != nil {
			t.Errorf("TokenEndpoint(%q) = %v", name, got)
		}
	}
}

func TestPolicies(t *testing.T) {
	stable, classic := Stable.Policy, Classic.Policy
	if !stable.Idempotent || classic.Idempotent {
		t.Error("stable is idempotent, classic is not")
	}
	if stable.ForcesPerDay != 20 || stable.ForceGap != 30*time.Second || classic.ForcesPerDay != 0 {
		t.Error("stable may be forced 20 times a day and 30 s apart, classic not at all")
	}
	// Earlier than in its last five minutes stable gives the same token.
	if stable.Lead >= 5*time.Minute || stable.Recheck != 5*time.Minute {
		t.Error("stable is asked every five minutes, and has a successor in the last five")
	}
	if stable.FetchesPerDay != 500_000 || classic.FetchesPerDay != 2_000 {
		t.Error("the quotas are 500,000 and 2,000 a day")
	}
}

func TestFetchRequest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		source *TokenEndpoint
		force  bool
		prefix string

		method, path, contentType string
		query                     url.Values
		body                      map[string]any
	}{
		{
			name: "stable", source: Stable,
			method: "POST", path: "/cgi-bin/stable_token", contentType: "application/json", query: url.Values{},
			body: map[string]any{"grant_type": "client_credential", "appid": testCredentials.ID, "secret": testCredentials.Secret, "force_refresh": false},
		},
		{
			name: "stable, forced", source: Stable, force: true,
			method: "POST", path: "/cgi-bin/stable_token", contentType: "application/json", query: url.Values{},
			body: map[string]any{"grant_type": "client_credential", "appid": testCredentials.ID, "secret": testCredentials.Secret, "force_refresh": true},
		},
		{
			name: "stable, below a path", source: Stable, prefix: "/weixin",
			method: "POST", path: "/weixin/cgi-bin/stable_token", contentType: "application/json", query: url.Values{},
			body: map[string]any{"grant_type": "client_credential", "appid": testCredentials.ID, "secret": testCredentials.Secret, "force_refresh": false},
		},
		{
			name: "classic", source: Classic,
			method: "GET", path: "/cgi-bin/token",
			query: url.Values{"grant_type": {"client_credential"}, "appid": {testCredentials.ID}, "secret": {testCredentials.Secret}},
		},
		{
			name: "classic has no force", source: Classic, force: true, prefix: "/a/b",
			method: "GET", path: "/a/b/cgi-bin/token",
			query: url.Values{"grant_type": {"client_credential"}, "appid": {testCredentials.ID}, "secret": {testCredentials.Secret}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got *http.Request
			var gotBody []byte
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				gotBody, _ = io.ReadAll(r.Body)
				answerWith(http.StatusOK, `{"access_token":"TOKEN","expires_in":7200}`)(w, r)
			}))
			defer server.Close()
			grant, err := tc.source.Fetch(t.Context(), server.Client().Transport, mustParse(t, server.URL+tc.prefix), testCredentials, tc.force)
			if err != nil || grant != (Grant{AccessToken: "TOKEN", ExpiresIn: 2 * time.Hour}) {
				t.Fatalf("Fetch = %v, %v", grant, err)
			}
			if got.Method != tc.method || got.URL.Path != tc.path || got.Header.Get("Content-Type") != tc.contentType {
				t.Errorf("got %s %s of type %q", got.Method, got.URL.Path, got.Header.Get("Content-Type"))
			}
			if query := got.URL.Query(); !maps.EqualFunc(query, tc.query, slices.Equal) {
				t.Errorf("query %v, want %v", query, tc.query)
			}
			if got.ContentLength != int64(len(gotBody)) || len(got.TransferEncoding) > 0 {
				t.Errorf("Content-Length %d, Transfer-Encoding %q", got.ContentLength, got.TransferEncoding)
			}
			if tc.body == nil {
				if len(gotBody) > 0 {
					t.Errorf("body %q", gotBody)
				}
				return
			}
			var body map[string]any
			if err := json.Unmarshal(gotBody, &body); err != nil || !maps.Equal(body, tc.body) {
				t.Errorf("body %v (%v), want %v", body, err, tc.body)
			}
		})
	}
}

func TestFetchLeavesBaseAlone(t *testing.T) {
	for _, source := range []*TokenEndpoint{Stable, Classic} {
		server := httptest.NewServer(answerWith(http.StatusOK, `{"access_token":"T","expires_in":1}`))
		base := mustParse(t, server.URL+"/x")
		before := *base
		if _, err := source.Fetch(t.Context(), server.Client().Transport, base, testCredentials, false); err != nil {
			t.Error(err)
		}
		if *base != before {
			t.Errorf("%s changed the upstream to %v", source.Name, base)
		}
		server.Close()
	}
}

func TestFetchAnswers(t *testing.T) {
	const ok = http.StatusOK
	long := strings.Repeat("a", maxTokenLength)
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   Grant // the zero Grant is an error
		code   int   // of the error, 0 if it is no *Error
	}{
		{"as documented", ok, `{"access_token":"T","expires_in":7200}`, Grant{"T", 2 * time.Hour}, 0},
		{"with errcode 0", ok, `{"errcode":0,"errmsg":"ok","access_token":"T","expires_in":300}`, Grant{"T", 5 * time.Minute}, 0},
		{"a short life", ok, `{"access_token":"T","expires_in":3}`, Grant{"T", 3 * time.Second}, 0},
		{"seconds in quotes", ok, `{"access_token":"T","expires_in":"7200"}`, Grant{"T", 2 * time.Hour}, 0},
		{"a fraction", ok, `{"access_token":"T","expires_in":1.5}`, Grant{"T", 1500 * time.Millisecond}, 0},
		{"an exponent", ok, `{"access_token":"T","expires_in":7.2e3}`, Grant{"T", 2 * time.Hour}, 0},
		{"unknown members", ok, `{"x":{},"access_token":"T","expires_in":1,"y":[1]}`, Grant{"T", time.Second}, 0},
		{"white space around", ok, " \n{\"access_token\":\"T\",\"expires_in\":1}\n", Grant{"T", time.Second}, 0},
		{"the longest token", ok, `{"access_token":"` + long + `","expires_in":1}`, Grant{long, time.Second}, 0},

		{"errcode", ok, `{"errcode":40013,"errmsg":"invalid appid"}`, Grant{}, 40013},
		{"errcode -1", ok, `{"errcode":-1,"errmsg":"system error"}`, Grant{}, -1},
		{"errcode beside a token", ok, `{"errcode":40125,"errmsg":"x","access_token":"T","expires_in":7200}`, Grant{}, 40125},
		{"errcode with status 500", 500, `{"errcode":45011,"errmsg":"x"}`, Grant{}, 45011},
		{"a token with status 500", 500, `{"access_token":"T","expires_in":7200}`, Grant{}, 0},
		{"a token with status 201", 201, `{"access_token":"T","expires_in":7200}`, Grant{}, 0},
		{"HTML with status 500", 500, `<html>Bad Gateway</html>`, Grant{}, 0},
		{"nothing with status 404", 404, ``, Grant{}, 0},
		{"no content", 204, ``, Grant{}, 0},
		{"nothing", ok, ``, Grant{}, 0},
		{"HTML", ok, `<html>Welcome to the hotel's network</html>`, Grant{}, 0},
		{"null", ok, `null`, Grant{}, 0},
		{"array", ok, `[{"access_token":"T","expires_in":7200}]`, Grant{}, 0},
		{"cut off", ok, `{"access_token":"T","expires_in":7200`, Grant{}, 0},
		{"two objects", ok, `{"access_token":"T","expires_in":7200}{}`, Grant{}, 0},
		{"errcode that is a string", ok, `{"errcode":"40164","errmsg":"x"}`, Grant{}, 40164},
		{"errcode with a fraction", ok, `{"errcode":40164.0,"errmsg":"x"}`, Grant{}, 40164},
		{"errcode behind a byte order mark", ok, "\ufeff\r\n" + `{"errcode":40164,"errmsg":"x"}`, Grant{}, 40164},
		{"errcode of an answer that is cut off", ok, `{"errcode":40164,"errmsg":"inva`, Grant{}, 40164},
		{"errcode 0 that is a string", ok, `{"errcode":"0","access_token":"T","expires_in":1}`, Grant{"T", time.Second}, 0},
		{"a byte order mark", ok, "\ufeff" + `{"access_token":"T","expires_in":1}`, Grant{"T", time.Second}, 0},
		{"errcode that is no number", ok, `{"errcode":"wrong","errmsg":"x"}`, Grant{}, 0},
		{"errcode without end", ok, `{"errcode":99999999999999999999}`, Grant{}, 0},

		{"no token", ok, `{"expires_in":7200}`, Grant{}, 0},
		{"empty object", ok, `{}`, Grant{}, 0},
		{"empty token", ok, `{"access_token":"","expires_in":7200}`, Grant{}, 0},
		{"token null", ok, `{"access_token":null,"expires_in":7200}`, Grant{}, 0},
		{"token that is a number", ok, `{"access_token":1,"expires_in":7200}`, Grant{}, 0},
		{"token with a space", ok, `{"access_token":"T T","expires_in":7200}`, Grant{}, 0},
		{"token with a line break", ok, `{"access_token":"T\r\nX-Evil: 1","expires_in":7200}`, Grant{}, 0},
		{"token that is not ASCII", ok, `{"access_token":"令牌","expires_in":7200}`, Grant{}, 0},
		{"token too long", ok, `{"access_token":"` + long + `a","expires_in":7200}`, Grant{}, 0},

		{"no expires_in", ok, `{"access_token":"T"}`, Grant{}, 0},
		{"expires_in null", ok, `{"access_token":"T","expires_in":null}`, Grant{}, 0},
		{"expires_in 0", ok, `{"access_token":"T","expires_in":0}`, Grant{}, 0},
		{"expires_in -0", ok, `{"access_token":"T","expires_in":-0}`, Grant{}, 0},
		{"expires_in less than a second", ok, `{"access_token":"T","expires_in":0.5}`, Grant{}, 0},
		{"expires_in less than a nanosecond", ok, `{"access_token":"T","expires_in":1e-10}`, Grant{}, 0},
		{"expires_in negative", ok, `{"access_token":"T","expires_in":-7200}`, Grant{}, 0},
		{"expires_in without end", ok, `{"access_token":"T","expires_in":1e400}`, Grant{}, 0},
		{"expires_in beyond a Duration", ok, `{"access_token":"T","expires_in":1e12}`, Grant{}, 0},
		{"expires_in no number", ok, `{"access_token":"T","expires_in":"soon"}`, Grant{}, 0},
		{"expires_in NaN", ok, `{"access_token":"T","expires_in":"NaN"}`, Grant{}, 0},
		{"expires_in an object", ok, `{"access_token":"T","expires_in":{}}`, Grant{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			grant, err := fetchFrom(t, Stable, answerWith(tc.status, tc.body))
			if tc.want != (Grant{}) {
				if err != nil || grant != tc.want {
					t.Errorf("Fetch = %v, %v; want %v", grant, err, tc.want)
				}
				return
			}
			checkNoSecret(t, err)
			if grant != (Grant{}) {
				t.Errorf("a grant beside the error: %v", grant)
			}
			wxErr, ok := errors.AsType[*Error](err)
			if ok != (tc.code != 0) || ok && wxErr.Code != tc.code {
				t.Errorf("error %v, want errcode %d", err, tc.code)
			}
			if strings.Contains(err.Error(), "<html>") {
				t.Errorf("the error repeats the answer: %v", err)
			}
		})
	}
}

// An endpoint that never stops sending must not fill the memory.
func TestFetchEndlessAnswer(t *testing.T) {
	sent := make(chan int, 1)
	_, err := fetchFrom(t, Stable, func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		defer func() { sent <- n }()
		_, _ = io.WriteString(w, `{"access_token":"`)
		for chunk := strings.Repeat("a", 1<<10); ; n += len(chunk) {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	checkNoSecret(t, err)
	// What is sent beyond is in the buffers of the network.
	if n := <-sent; n < maxTokenAnswer/2 {
		t.Errorf("gave up after %d bytes", n)
	}
}

// Whatever goes wrong, and whatever the other side repeats, the AppSecret stays
// here.
func TestFetchErrorsHoldNoSecret(t *testing.T) {
	secret := testCredentials.Secret
	echo := func(format string, escape func(string) string) http.HandlerFunc {
		return answerWith(http.StatusOK, fmt.Sprintf(format, escape(secret)))
	}
	plain := func(s string) string { return s }
	for _, source := range []*TokenEndpoint{Stable, Classic} {
		t.Run(source.Name, func(t *testing.T) {
			for name, handler := range map[string]http.HandlerFunc{
				"errmsg":                 echo(`{"errcode":40125,"errmsg":"invalid secret %s rid: 1"}`, plain),
				"errmsg, escaped":        echo(`{"errcode":40125,"errmsg":"/cgi-bin/token?secret=%s"}`, url.QueryEscape),
				"errmsg, twice":          echo(`{"errcode":40125,"errmsg":"%[1]s and %[1]s"}`, plain),
				"no JSON":                echo(`<html>%s</html>`, plain),
				"the secret as token":    echo(`{"access_token":"%s"}`, plain),
				"the secret as lifetime": echo(`{"access_token":"T","expires_in":"%s"}`, plain),
				"the secret as errcode":  echo(`{"errcode":"%s"}`, plain),
				"the status line":        rawAnswer("HTTP/1.1 " + secret + "\r\n\r\n"),
				"the status line, whole": rawAnswer("garbage?secret=" + url.QueryEscape(secret) + "\r\n\r\n"),
				"a header line":          rawAnswer("HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n"),
				"the length":             rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n"),
				"the coding":             rawAnswer("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n"),
				"a chunk's length":       rawAnswer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n"),
				"less than announced":    rawAnswer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret),
				"closed at once":         rawAnswer(""),
				"a redirect": func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "/?secret="+secret, http.StatusFound)
				},
			} {
				t.Run(name, func(t *testing.T) {
					_, err := fetchFrom(t, source, handler)
					checkNoSecret(t, err)
				})
			}
			t.Run("nobody listens", func(t *testing.T) {
				server := httptest.NewServer(http.NotFoundHandler())
				server.Close()
				_, err := source.Fetch(t.Context(), http.DefaultTransport, mustParse(t, server.URL), testCredentials, false)
				checkNoSecret(t, err)
				if _, ok := errors.AsType[*net.OpError](err); !ok {
					t.Errorf("the error lost its cause: %#v", err)
				}
			})
			t.Run("a RoundTripper that repeats the URL and the body", func(t *testing.T) {
				rt := roundTripFunc(func(req *http.Request) (*http.Response, error) {
					text := ""
					if req.Body != nil {
						body, _ := io.ReadAll(req.Body)
						text = string(body)
					}
					return nil, &url.Error{Op: req.Method, URL: req.URL.String(), Err: errors.New(text)}
				})
				_, err := source.Fetch(t.Context(), rt, mustParse(t, "http://host"), Credentials{ID: "wx1", Secret: testCredentials.Secret}, false)
				checkNoSecret(t, err)
			})
			t.Run("an upstream that is none", func(t *testing.T) {
				_, err := source.Fetch(t.Context(), http.DefaultTransport, &url.URL{Scheme: "http", Host: "a b"}, testCredentials, false)
				checkNoSecret(t, err)
			})
		})
	}
}

// rawAnswer sends bytes that need not be HTTP, and closes the connection.
func rawAnswer(bytes string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, bytes)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Where a redirect leads is not where the AppSecret belongs.
func TestFetchFollowsNoRedirect(t *testing.T) {
	for _, source := range []*TokenEndpoint{Stable, Classic} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			requests := 0
			_, err := fetchFrom(t, source, func(w http.ResponseWriter, r *http.Request) {
				requests++
				if requests > 1 {
					answerWith(http.StatusOK, `{"access_token":"T","expires_in":7200}`)(w, r)
					return
				}
				http.Redirect(w, r, "/elsewhere", status)
			})
			checkNoSecret(t, err)
			if requests != 1 || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("%s, %d: %d requests, %v", source.Name, status, requests, err)
			}
		}
	}
}

func TestFetchCanceled(t *testing.T) {
	for _, tc := range []struct {
		name string
		head string // sent before the endpoint falls silent
	}{
		{"before the answer", ""},
		{"within the answer", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			silent := make(chan struct{})
			defer close(silent)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, tc.head)
				cancel()
				<-silent
			}))
			t.Cleanup(server.Close)
			_, err := Stable.Fetch(ctx, server.Client().Transport, mustParse(t, server.URL), testCredentials, false)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Fetch = %v, want %v", err, context.Canceled)
			}
			checkNoSecret(t, err)
		})
	}
}

// A body that stays open keeps its connection for ever.
func TestFetchClosesAnswer(t *testing.T) {
	for _, tc := range []struct {
		name string
		res  http.Response
		body io.Reader
	}{
		{"token", http.Response{StatusCode: 200}, strings.NewReader(`{"access_token":"T","expires_in":1}`)},
		{"errcode", http.Response{StatusCode: 200}, strings.NewReader(`{"errcode":-1}`)},
		{"status", http.Response{StatusCode: 502}, strings.NewReader(`x`)},
		{"garbage", http.Response{StatusCode: 200}, strings.NewReader(`x`)},
		{"broken", http.Response{StatusCode: 200}, io.MultiReader(strings.NewReader(`{`), errReader{})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			closed := 0
			tc.res.Body = &closeCounter{Reader: tc.body, closed: &closed}
			rt := roundTripFunc(func(*http.Request) (*http.Response, error) { return &tc.res, nil })
			_, _ = Classic.Fetch(t.Context(), rt, mustParse(t, "http://host"), testCredentials, false)
			if closed != 1 {
				t.Errorf("closed %d times", closed)
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

type closeCounter struct {
	io.Reader
	closed *int
}

func (c *closeCounter) Close() error {
	*c.closed++
	return nil
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	holder := struct {
		Name        string
		Credentials Credentials
	}{"shop", testCredentials}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{testCredentials, &testCredentials, holder, []Credentials{testCredentials}} {
			text := fmt.Sprintf(format, value)
			if strings.Contains(text, testCredentials.Secret) || strings.Contains(text, fmt.Sprintf("%x", testCredentials.Secret)) {
				t.Errorf("%s of %T shows the secret: %s", format, value, text)
			}
		}
	}
}

// FuzzFetch feeds answers of any form to the one place that reads them.
func FuzzFetch(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"T","expires_in":7200}`))
	f.Add(200, []byte(`{"errcode":40164,"errmsg":"invalid ip 1.2.3.4"}`))
	f.Add(500, []byte(`{"errcode":-1}`))
	f.Add(200, []byte(`{"access_token":"T","expires_in":"1e3"}`))
	f.Add(200, []byte(`{"access_token":"T\n","expires_in":1}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		rt := roundTripFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
		})
		grant, err := Classic.Fetch(t.Context(), rt, &url.URL{Scheme: "http", Host: "host"}, testCredentials, false)
		if err != nil {
			checkNoSecret(t, err)
			if wxErr, ok := errors.AsType[*Error](err); ok && wxErr.Code == OK {
				t.Errorf("an error without errcode: %v", err)
			}
			return
		}
		if status != http.StatusOK || !IsToken(grant.AccessToken) || grant.ExpiresIn <= 0 {
			t.Errorf("status %d, %q: %v", status, body, grant)
		}
		// Else it could break out of the query it is put into.
		if strings.ContainsAny(url.QueryEscape(grant.AccessToken), "&=# \r\n") {
			t.Errorf("token %q", grant.AccessToken)
		}
	})
}
