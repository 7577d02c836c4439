package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A client that leaves before its request's second answer has caused a fetch all
// the same.
func TestVainFetchesOfWhoLeaves(t *testing.T) {
	t.Parallel()
	w := startWeChat(t)
	p := startCaddy(t, w, config{global: "account shop {\n appid {env.WEIXIN_APPID}\n secret {env.WEIXIN_SECRET}\n token classic\n }"})
	wantOK(t, get(t, p.url+"/cgi-bin/user/get"))
	var mu sync.Mutex
	tries, again := make(map[string]int), make(chan string)
	w.answer(func(rw http.ResponseWriter, req *http.Request) {
		try := req.URL.Query().Get("try")
		mu.Lock()
		tries[try]++
		n := tries[try]
		mu.Unlock()
		if n > 1 {
			again <- try
			<-req.Context().Done()
			return
		}
		fmt.Fprint(rw, `{"errcode":40001,"errmsg":"x"}`)
	})
	before := w.status().Fetches
	for i := range 12 {
		ctx, leave := context.WithTimeout(t.Context(), 10*time.Second)
		req := newRequest(t, http.MethodGet, fmt.Sprintf("%s/cgi-bin/x?try=%d", p.url, i), nil).WithContext(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		select {
		case <-again:
		case <-done:
		}
		leave()
		<-done
		time.Sleep(50 * time.Millisecond) // the proxy is to notice
	}
	if n := w.status().Fetches - before; n > 6 {
		t.Errorf("%d fetches on the word of one client, want 6 at most", n)
	}
}
