package weixin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// manyAccounts returns that many accounts with tokens that were fetched at the
// same moment, as after a long absence.
func manyAccounts(tb testing.TB, m *TokenManager, n int, source wechat.Source) []*Account {
	tb.Helper()
	now := m.now()
	accounts := make([]*Account, n)
	for i := range accounts {
		name := strconv.Itoa(i)
		a := (&Account{
			Name: name, Credentials: wechat.Credentials{AppID: fmt.Sprintf("wx%016d", i), AppSecret: "a-secret-of-some-length"},
			Source: source, Place: wechat.Official, Upstream: testUpstream,
		}).bind(newTokenState(source.Policy()))
		a.state.mu.Lock()
		m.install(a, record{
			Generation: now.UnixMilli(), AccessToken: "80_" + name + "-0123456789abcdefghijklmnopqrstuvwxyz",
			FetchedAt: now, CheckedAt: now, ExpiresAt: now.Add(2 * time.Hour),
		})
		a.state.mu.Unlock()
		accounts[i] = a
	}
	return accounts
}

// BenchmarkScale looks tokens up among many accounts, tells how much memory each
// of them takes, and what a whole request costs that names one by its AppID,
// without the network.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{1, 1_000, 1_000_000} {
		b.Run(strconv.Itoa(n)+" accounts", func(b *testing.B) {
			before := heapInUse()
			cache, err := newTokenCache(int64(n))
			if err != nil {
				b.Fatal(err)
			}
			defer cache.close()
			m := newTokenManager(cache, newMemoryStore(), &fakeEndpoint{}, zap.NewNop())
			accounts := manyAccounts(b, m, n, wechat.Classic{})
			perAccount := float64(heapInUse()-before) / float64(n)
			h := handlerOf(b, m, accounts)
			// Who has a million accounts does not use all of them at the same
			// moment: these are in use now, chosen from all of them.
			busy := make([]*Account, min(n, 1_000))
			for i := range busy {
				busy[i] = accounts[rand.IntN(n)]
			}
			for _, c := range []struct {
				name     string
				accounts []*Account
			}{{"1000 in use", busy}, {"all in use", accounts}} {
				b.Run(c.name+"/token", func(b *testing.B) {
					ctx := context.Background()
					// The first time, each is looked up in the cache.
					for _, a := range c.accounts {
						if _, err := m.Token(ctx, a); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportAllocs()
					for next := eachOf(c.accounts); b.Loop(); {
						if _, err := m.Token(ctx, next()); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(perAccount, "B/account")
				})
				b.Run(c.name+"/request", func(b *testing.B) {
					req := requestFromHere(b)
					b.ReportAllocs()
					for next := eachOf(c.accounts); b.Loop(); {
						req.URL.RawQuery = "appid=" + next().Credentials.AppID
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
func eachOf(accounts []*Account) func() *Account {
	i := 0
	return func() *Account {
		i = (i + 618_033) % len(accounts)
		return accounts[i]
	}
}

// handlerOf returns a handler for the accounts, with an upstream that answers at
// once.
func handlerOf(tb testing.TB, m *TokenManager, accounts []*Account) *Handler {
	tb.Helper()
	app := &App{tokens: m, byAppID: make(map[string]*Account, len(accounts)), accounts: make(map[string]*Account, len(accounts))}
	for _, a := range accounts {
		app.byAppID[a.Credentials.AppID], app.accounts[a.Name] = a, a
	}
	h := &Handler{logger: zap.NewNop(), sender: &transport{base: atOnce{}, tokens: m, logger: zap.NewNop()}}
	if err := h.provision(); err != nil {
		tb.Fatal(err)
	}
	h.gateway = gateway{app: app, access: &h.Access}
	return h
}

// atOnce is an upstream without a network.
type atOnce struct{}

// RoundTrip implements http.RoundTripper.
func (atOnce) RoundTrip(*http.Request) (*http.Response, error) {
	return jsonResponse(`{"errcode":0}`), nil
}

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

// Accounts whose tokens were fetched at the same moment are not renewed at the
// same moment.
func TestRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		cache, err := newTokenCache(16)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.close()
		m := newTokenManager(cache, newMemoryStore(), &fakeEndpoint{}, zap.NewNop())
		perSecond := make(map[int64]int)
		for _, a := range manyAccounts(t, m, n, wechat.Classic{}) {
			perSecond[a.state.token.warmAt.Unix()]++
		}
		most := 0
		for _, count := range perSecond {
			most = max(most, count)
		}
		// Two minutes' worth of seconds.
		if average := n / 120; most > 2*average {
			t.Errorf("%d renewals in one second, where %d would be even", most, average)
		}
	})
}

// Nor do many accounts begin at the same moment.
func TestBeginningsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1_000
		cache, err := newTokenCache(16)
		if err != nil {
			t.Fatal(err)
		}
		defer cache.close()
		var asking, most atomic.Int32
		endpoint := roundTripFunc(func(*http.Request) (*http.Response, error) {
			now := asking.Add(1)
			defer asking.Add(-1)
			for most.Load() < now && !most.CompareAndSwap(most.Load(), now) {
			}
			time.Sleep(10 * time.Millisecond)
			return jsonResponse(`{"access_token":"token","expires_in":7200}`), nil
		})
		m := newTokenManager(cache, newMemoryStore(), endpoint, zap.NewNop())
		for i := range n {
			a := (&Account{
				Name: strconv.Itoa(i), Credentials: wechat.Credentials{AppID: strconv.Itoa(i), AppSecret: "s"},
				Source: wechat.Stable{}, Upstream: testUpstream,
			}).bind(newTokenState(wechat.Stable{}.Policy()))
			m.KeepWarm(a, n*time.Millisecond)
			defer m.Release(t.Context(), a)
		}
		time.Sleep(n * 2 * time.Millisecond)
		if most.Load() > 40 {
			t.Errorf("%d at once, where 10 would be even", most.Load())
		}
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

// RoundTrip calls the function.
func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
