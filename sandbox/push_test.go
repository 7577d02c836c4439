package sandbox

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// callback stands in for a platform that starts two seconds late, and notes when
// a push came.
type callback struct {
	start time.Time
	at    []time.Duration
}

func (cb *callback) RoundTrip(*http.Request) (*http.Response, error) {
	since := time.Since(cb.start)
	cb.at = append(cb.at, since)
	status := http.StatusOK
	if since < 2*time.Second {
		status = http.StatusServiceUnavailable
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("success"))}, nil
}

// A platform that starts later than the sandbox gets its ticket soon, one that
// asks for it gets it at once, and each gets one every ten minutes.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Components: []Component{{
			AppID: "wxisv", Secret: "s", PushToken: "t", PushAESKey: strings.Repeat("k", 43), Callback: "http://127.0.0.1/callback",
		}}})
		if err != nil {
			t.Fatal(err)
		}
		cb := &callback{start: time.Now()}
		s.pusher = cb
		ctx, cancel := context.WithCancel(t.Context())
		go s.Run(ctx)
		time.Sleep(10*time.Minute + 32*time.Second)
		r := httptest.NewRequest(http.MethodPost, "/cgi-bin/component/api_start_push_ticket",
			strings.NewReader(`{"component_appid":"wxisv","component_secret":"s"}`))
		s.ServeHTTP(httptest.NewRecorder(), r)
		synctest.Wait()
		asked := time.Since(cb.start)
		time.Sleep(10 * time.Minute)
		cancel()
		synctest.Wait()
		want := []time.Duration{0, time.Second, 3 * time.Second, 10*time.Minute + 3*time.Second, asked, 20*time.Minute + 3*time.Second}
		if !slices.Equal(cb.at, want) {
			t.Errorf("pushed at %v, want %v", cb.at, want)
		}
		// Tickets are good for twelve hours.
		co := s.components["wxisv"]
		first, now := co.tickets[0], time.Now()
		if err := co.checkTicket(first.value, first.created.Add(12*time.Hour-1)); err != nil {
			t.Error(err)
		}
		if err := co.checkTicket(first.value, now.Add(12*time.Hour)); !isErrcode(err, ticketExpired) {
			t.Error(err)
		}
	})
}

func TestCodesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExample(t, componentToken)
		r := officialRoutes["/cgi-bin/component/api_query_auth"]
		text := x.fill(r.example)
		time.Sleep(time.Hour)
		wantErrcode(t, x.send(r, text), authCodeExpired)
	})
}
