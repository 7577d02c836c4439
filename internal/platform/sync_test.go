package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// listingWeChat is a fake WeChat that lists authorizers, too.
type listingWeChat struct {
	*fakeWeChat

	latency time.Duration
	after   func(call int)       // after an answer was made, and before it is given
	errcode func(call int) int   // what is answered instead
	failure func(call int) error // of the connection
}

const listCall = "api_get_authorizer_list"

// RoundTrip implements http.RoundTripper.
func (w *listingWeChat) RoundTrip(req *http.Request) (*http.Response, error) {
	if path.Base(req.URL.Path) != listCall {
		return w.fakeWeChat.RoundTrip(req)
	}
	if err := pass(req.Context(), w.latency); err != nil {
		return nil, err
	}
	var body struct{ Offset, Count int }
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	call, answer := w.listed(req.URL.Query().Get("component_access_token"), body.Offset, body.Count)
	if w.failure != nil && w.failure(call) != nil {
		return nil, w.failure(call)
	}
	if w.errcode != nil && w.errcode(call) != 0 {
		answer = map[string]any{"errcode": w.errcode(call), "errmsg": "refused"}
	}
	if w.after != nil {
		w.after(call)
	}
	data, err := json.Marshal(answer)
	return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: io.NopCloser(bytes.NewReader(data)), Request: req}, err
}

func (w *listingWeChat) listed(token string, offset, count int) (call int, answer map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[listCall]++
	call = w.calls[listCall]
	if token == "" || token != w.component || count > 500 {
		return call, map[string]any{"errcode": 40001, "errmsg": "invalid credential"}
	}
	var live []string
	for _, appID := range slices.Sorted(maps.Keys(w.merchants)) {
		if !w.merchants[appID].withdrawn {
			live = append(live, appID)
		}
	}
	list := []map[string]any{}
	for _, appID := range live[min(offset, len(live)):min(offset+count, len(live))] {
		listed := map[string]any{"authorizer_appid": appID, "auth_time": time.Now().Add(-time.Hour).Unix(), "refresh_token": ""}
		if m := w.merchants[appID]; m.known {
			listed["refresh_token"] = m.refresh
		}
		list = append(list, listed)
	}
	return call, map[string]any{"total_count": len(live), "list": list}
}

// startListing starts a process of a platform with that many authorizers.
func startListing(t *testing.T, merchants int) (*process, *listingWeChat, *memoryStore) {
	t.Helper()
	w, st := &listingWeChat{fakeWeChat: newFakeWeChat()}, newMemoryStore()
	for _, appID := range numbers(0, merchants) {
		w.authorize(appID)
	}
	p := startProcess(t, w, st)
	p.push(t, w.fakeWeChat)
	return p, w, st
}

func (p *process) mustSync(t *testing.T, want int) {
	t.Helper()
	if n, err := p.Sync(t.Context()); err != nil || n != want {
		t.Errorf("%d were synced, %v; want %d", n, err, want)
	}
}

func (p *process) wantListed(t *testing.T, want []string) {
	t.Helper()
	var got []string
	for after := ""; ; {
		some, next, err := p.List(t.Context(), after, 300)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, some...)
		if after = next; after == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d are listed, want %d: %s", len(got), len(want), difference(got, want))
	}
	if n, _, err := p.Count(t.Context()); n != len(want) || err != nil {
		t.Errorf("counted %d, %v; want %d", n, err, len(want))
	}
}

// After a sync the store has what WeChat has: nothing has to be asked for again.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, st := startListing(t, 1203)
		w.change(func(w *fakeWeChat) { w.merchants[appID(7)].known = false })
		if err := p.Authorized(t.Context(), "wx-has-left", time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		p.mustSync(t, 1203)
		p.wantListed(t, numbers(0, 1203))
		wantCalls(t, w.fakeWeChat, listCall, 3)
		for _, appID := range []string{appID(0), appID(500), appID(1202)} {
			p.mustUse(t, w.fakeWeChat, appID)
		}
		wantCalls(t, w.fakeWeChat, "api_get_authorizer_info", 0)

		// Another process has it all, and so has the next sync, which saves nothing.
		other := startProcess(t, w, st)
		other.wantListed(t, numbers(0, 1203))
		other.mustUse(t, w.fakeWeChat, appID(600))
		wantCalls(t, w.fakeWeChat, "api_get_authorizer_info", 0)
		before := maps.Clone(st.values)
		other.mustSync(t, 1203)
		for key, value := range st.values {
			if !bytes.Equal(before[key], value) {
				t.Errorf("%s was saved again", key)
			}
		}

		// The store is lost.
		st.change(func(st *memoryStore) { clear(st.values) })
		again := startProcess(t, w, st)
		again.push(t, w.fakeWeChat)
		again.wantListed(t, nil)
		again.mustSync(t, 1203)
		again.wantListed(t, numbers(0, 1203))
		again.mustUse(t, w.fakeWeChat, appID(700))
		wantCalls(t, w.fakeWeChat, "api_get_authorizer_info", 0)
	})
}

// Whoever syncs at the same time gets the same, and nobody's leaving ends it.
func TestSyncOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, _ := startListing(t, 1203)
		w.latency = time.Second
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { p.mustSync(t, 1203) })
		}
		ctx, leave := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer leave()
		if _, err := p.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has left: %v", err)
		}
		wg.Wait()
		wantCalls(t, w.fakeWeChat, listCall, 3)
		p.wantListed(t, numbers(0, 1203))
		p.mustSync(t, 1203)
		wantCalls(t, w.fakeWeChat, listCall, 6)
	})
}

// Where the list is not read to its end, what was read is saved, and nothing leaves
// the index.
func TestSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, _ := startListing(t, 1203)
		if err := p.Authorized(t.Context(), "wx-has-left", time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		w.errcode = func(call int) int { return map[bool]int{true: 45009}[call >= 2] }
		n, err := p.Sync(t.Context())
		if wxErr, ok := errors.AsType[*wechat.Error](err); n != 500 || !ok || wxErr.Code != 45009 {
			t.Errorf("%d, %v", n, err)
		}
		noSecretIn(t, "an error", err.Error())
		wantCalls(t, w.fakeWeChat, listCall, 2)
		p.wantListed(t, append([]string{"wx-has-left"}, numbers(0, 500)...))
	})
}

// What passes is tried again: no answer, a busy WeChat, a dead component token.
func TestSyncTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, _ := startListing(t, 1203)
		w.failure = func(call int) error {
			if call == 2 {
				return errors.New("connection reset")
			}
			return nil
		}
		w.errcode = func(call int) int { return map[int]int{3: -1}[call] }
		w.after = func(call int) {
			if call == 4 {
				w.change(func(w *fakeWeChat) { w.component = "another" })
			}
		}
		p.mustSync(t, 1203)
		wantCalls(t, w.fakeWeChat, listCall, 6)
		wantCalls(t, w.fakeWeChat, "api_component_token", 2)
		p.wantListed(t, numbers(0, 1203))
	})
}

// What the store does not take is tried again, and told.
func TestSyncWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, st := startListing(t, 1203)
		w.after = func(call int) {
			if call == 2 {
				st.change(func(st *memoryStore) { st.err = errStore })
			}
		}
		if _, err := p.Sync(t.Context()); !errors.Is(err, errStore) {
			t.Errorf("error %v", err)
		}
		if _, err := p.Sync(t.Context()); !errors.Is(err, errStore) {
			t.Errorf("error %v", err)
		}
		st.change(func(st *memoryStore) { st.err = nil })
		w.after = func(call int) {
			if call == 4 {
				st.change(func(st *memoryStore) { st.err = errStore })
				time.AfterFunc(1500*time.Millisecond, func() { st.change(func(st *memoryStore) { st.err = nil }) })
			}
		}
		p.mustSync(t, 1203)
		p.wantListed(t, numbers(0, 1203))
	})
}

// News that come while the list is read are newer than that.
func TestSyncAndNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, st := startListing(t, 10)
		other := startProcess(t, w, st)
		w.latency = time.Second
		if err := other.Authorized(t.Context(), "wx-came-back", time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.after = func(int) {
			time.Sleep(2 * time.Second)
			for _, err := range []error{
				p.Save(t.Context(), w.authorize(appID(3))), // its refresh token is another now
				other.Unauthorized(t.Context(), appID(4), time.Now()),
				p.Unauthorized(t.Context(), appID(5), time.Now()),
				other.Save(t.Context(), w.authorize("wx-new")),
				other.Authorized(t.Context(), "wx-came-back", time.Now()),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			time.Sleep(2 * time.Second) // what other processes note is in the index
		}
		p.mustSync(t, 8) // but for those that have withdrawn since
		w.after = nil
		want := append(slices.DeleteFunc(numbers(0, 10), func(id string) bool { return id == appID(4) || id == appID(5) }), "wx-came-back", "wx-new")
		p.wantListed(t, unique(want))
		for _, id := range []string{appID(4), appID(5)} {
			if err := p.use(t, w.fakeWeChat, id); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("%s has withdrawn: %v", id, err)
			}
		}
		time.Sleep(2 * time.Hour)
		p.push(t, w.fakeWeChat)
		p.mustUse(t, w.fakeWeChat, appID(3))
		wantCalls(t, w.fakeWeChat, "api_get_authorizer_info", 0)
	})
}

// A refresh token that has changed at WeChat since it was saved is replaced, and
// news of an authorisation that were lost are made good.
func TestSyncRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, _ := startListing(t, 3)
		p.mustSync(t, 3)
		if err := p.Unauthorized(t.Context(), appID(2), time.Now()); err != nil {
			t.Fatal(err)
		}
		p.wantListed(t, numbers(0, 2))
		time.Sleep(time.Minute)
		w.authorize(appID(1))
		w.authorize(appID(2))
		p.mustSync(t, 3)
		p.wantListed(t, numbers(0, 3))
		p.mustUse(t, w.fakeWeChat, appID(1))
		p.mustUse(t, w.fakeWeChat, appID(2))
		wantCalls(t, w.fakeWeChat, "api_get_authorizer_info", 0)
	})
}

// A configuration that goes takes its sync with it.
func TestSyncEndsWithTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, w, _ := startListing(t, 1203)
		w.latency = time.Minute
		time.AfterFunc(90*time.Second, func() { p.Release(context.Background()) })
		if _, err := p.Sync(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("error %v", err)
		}
		if _, err := p.Sync(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("error %v", err)
		}
	})
}
