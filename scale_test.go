package weixin

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/credential"
	"github.com/caddy-weixin/caddy-weixin/internal/gateway"
	"github.com/caddy-weixin/caddy-weixin/internal/proxy"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

var testUpstream = &url.URL{Scheme: "https", Host: "api.example"}

// manyAccounts returns that many accounts with tokens that were fetched at the
// same moment, as after a long absence.
func manyAccounts(tb testing.TB, m *TokenManager, n int, endpoint *wechat.TokenEndpoint) []*account.Account {
	tb.Helper()
	accounts := make([]*account.Account, n)
	for i := range accounts {
		accounts[i] = m.bind(&account.Account{
			Name: strconv.Itoa(i), Credentials: wechat.Credentials{ID: fmt.Sprintf("wx%016d", i), Secret: "a-secret-of-some-length"},
			Endpoint: endpoint, Kind: wechat.Official, Upstream: testUpstream,
		}, credential.NewRunner())
	}
	// They stand side by side in memory, as those of a configuration do.
	for _, a := range accounts {
		if _, err := a.Token(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	return accounts
}

// tokensAtOnce is a token endpoint without a network.
var tokensAtOnce = roundTripFunc(func(req *http.Request) (*http.Response, error) {
	body := `{"access_token":"80_` + req.URL.Query().Get("appid") + `-0123456789abcdefghijklmnopqrstuvwxyz","expires_in":7200}`
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
})

// forgetful is a store that keeps nothing: what it keeps is no account's memory.
type forgetful struct{}

// Load returns nothing.
func (forgetful) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

// Save does nothing.
func (forgetful) Save(context.Context, string, []byte) error { return nil }

// Lock locks nothing.
func (forgetful) Lock(context.Context, string) (func(), error) { return func() {}, nil }

// BenchmarkScale looks tokens up among many accounts, tells how much memory each
// of them takes, and what a whole request costs that names one by its AppID,
// without the network.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{1, 1_000, 1_000_000} {
		b.Run(strconv.Itoa(n)+" accounts", func(b *testing.B) {
			before := heapInUse()
			m := newTokenManager(credential.NewProcess(), forgetful{}, tokensAtOnce, zap.NewNop())
			accounts := manyAccounts(b, m, n, wechat.Classic)
			perAccount := float64(heapInUse()-before) / float64(n)
			h := handlerOf(b, m, accounts)
			// Who has a million accounts does not use all of them at the same
			// moment: these are in use now, chosen from all of them.
			busy := make([]*account.Account, min(n, 1_000))
			for i := range busy {
				busy[i] = accounts[rand.IntN(n)]
			}
			for _, c := range []struct {
				name     string
				accounts []*account.Account
			}{{"1000 in use", busy}, {"all in use", accounts}} {
				b.Run(c.name+"/token", func(b *testing.B) {
					ctx := context.Background()
					b.ReportAllocs()
					for next := eachOf(c.accounts); b.Loop(); {
						if _, err := next().Token(ctx); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(perAccount, "B/account")
				})
				b.Run(c.name+"/request", func(b *testing.B) {
					req := requestFromHere(b)
					b.ReportAllocs()
					for next := eachOf(c.accounts); b.Loop(); {
						req.URL.RawQuery = "appid=" + next().Credentials.ID
						w := httptest.NewRecorder()
						if err := h.ServeHTTP(w, req, nil); err != nil || w.Code != http.StatusOK {
							b.Fatal(w.Code, err)
						}
					}
				})
			}
			runtime.KeepAlive(accounts)
		})
	}
}

// eachOf returns a function that returns one after the other, again and again,
// in no order.
func eachOf(accounts []*account.Account) func() *account.Account {
	i := 0
	return func() *account.Account {
		i = (i + 618_033) % len(accounts)
		return accounts[i]
	}
}

// handlerOf returns a handler for the accounts, with an upstream that answers at
// once.
func handlerOf(tb testing.TB, m *TokenManager, accounts []*account.Account) *Handler {
	tb.Helper()
	directory, err := account.NewDirectory(accounts...)
	if err != nil {
		tb.Fatal(err)
	}
	registry, err := gateway.NewRegistry(directory, m.credentials.Now, zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	h := &Handler{logger: zap.NewNop(), proxy: proxy.New(proxy.Config{Base: atOnce{}, Logger: zap.NewNop(), Log: answer.NewLog(zap.NewNop())})}
	if err := h.Prepare(); err != nil {
		tb.Fatal(err)
	}
	h.gateway = gateway.Gateway{Registry: registry, Access: &h.Access}
	return h
}

// atOnce is an upstream without a network.
type atOnce struct{}

// RoundTrip implements http.RoundTripper.
func (atOnce) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json; encoding=utf-8"}, "Content-Length": {strconv.Itoa(len(userList))}},
		Body: io.NopCloser(iotest.DataErrReader(strings.NewReader(userList))), ContentLength: int64(len(userList)),
	}, nil
}

// userList is an answer of ordinary length.
var userList = `{"total":23000,"count":8,"data":{"openid":["` + strings.Repeat(`o6_bmjrPTlm6_2sgVt7hMZOPfL2M","`, 7) + `ocYxcuAEy30bX0NXmGn4ypqx3tI0"]},"next_openid":"ocYxcuAEy30bX0NXmGn4ypqx3tI0"}`

// CloseIdleConnections does nothing.
func (atOnce) CloseIdleConnections() {}

// Close does nothing.
func (atOnce) Close() {}

// requestFromHere returns a request as Caddy hands it on, from a client on the
// same machine.
func requestFromHere(tb testing.TB) *http.Request {
	tb.Helper()
	vars := map[string]any{caddyhttp.ClientIPVarKey: "127.0.0.1"}
	ctx := context.WithValue(tb.Context(), caddyhttp.VarsCtxKey, vars)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://proxy/cgi-bin/user/info", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

type roundTripFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// BenchmarkToken looks one account's token up, from all processors at once.
func BenchmarkToken(b *testing.B) {
	m := newTokenManager(credential.NewProcess(), forgetful{}, tokensAtOnce, zap.NewNop())
	a := manyAccounts(b, m, 1, wechat.Classic)[0]
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Token(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
