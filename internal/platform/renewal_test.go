package platform

import (
	"net/http"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// timedWeChat is a fake WeChat that notes when authorizers' tokens are asked for.
type timedWeChat struct {
	*fakeWeChat

	mu    sync.Mutex
	asked []time.Time
}

// RoundTrip implements http.RoundTripper.
func (w *timedWeChat) RoundTrip(req *http.Request) (*http.Response, error) {
	if path.Base(req.URL.Path) == "api_authorizer_token" {
		w.mu.Lock()
		w.asked = append(w.asked, time.Now())
		w.mu.Unlock()
	}
	return w.fakeWeChat.RoundTrip(req)
}

// between returns how often they were asked for, and how often within one second at
// most.
func (w *timedWeChat) between(from, to time.Time) (all, inOneSecond int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	perSecond := make(map[int64]int)
	for _, at := range w.asked {
		if !at.Before(from) && at.Before(to) {
			all++
			perSecond[at.Unix()]++
			inOneSecond = max(inOneSecond, perSecond[at.Unix()])
		}
	}
	return all, inOneSecond
}

// Tokens that were fetched at the same moment are not renewed at the same moment,
// and only those are renewed that were used within two hours: what is asked of
// WeChat is in proportion to what is in use.
func TestRenewalsOfAuthorizersAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, used = 3000, 1000
		w, st := &timedWeChat{fakeWeChat: newFakeWeChat()}, newMemoryStore()
		p := startProcess(t, w, st)
		loaded := p.load(t, w, st, zap.NewNop(), n)
		defer p.end(loaded)
		p.push(t, w.fakeWeChat)
		for _, appID := range numbers(0, n) {
			if err := loaded.Save(t.Context(), w.authorize(appID)); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		use := func(appIDs []string) {
			for _, appID := range appIDs {
				a, err := loaded.Authorizer(t.Context(), appID)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		use(numbers(0, n))
		for range 12 * 60 { // twelve hours
			time.Sleep(time.Minute)
			if time.Since(begun)%(10*time.Minute) == 0 {
				p.push(t, w.fakeWeChat)
			}
			// Each of them every ten minutes.
			minute := int(time.Since(begun)/time.Minute) % 10
			use(slices.Collect(every(numbers(0, used), 10, minute)))
		}
		_, first := w.between(begun, begun.Add(2*time.Hour))
		inAnHour, most := w.between(begun.Add(4*time.Hour), begun.Add(12*time.Hour))
		inAnHour /= 8
		t.Logf("%d in use: %d are renewed in an hour, %d in a second at most, and %d in a second the first time", used, inAnHour, most, first)
		// A token is renewed 10 to 8 minutes before its end.
		if least, most := used*60/112, used*60/109; inAnHour < least-used/20 || inAnHour > most+used/20 {
			t.Errorf("%d are renewed in an hour, for %d in use", inAnHour, used)
		}
		if even := n / 120; first > 4*even {
			t.Errorf("%d in one second, where %d would be even", first, even)
		}
	})
}

// every returns each step-th of appids, from one on.
func every(appIDs []string, step, from int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := from; i < len(appIDs); i += step {
			if !yield(appIDs[i]) {
				return
			}
		}
	}
}
