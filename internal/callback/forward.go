package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-weixin/caddy-weixin/internal/push"
)

const (
	forwardTimeout = 4 * time.Second
	dialTimeout    = 3 * time.Second

	// maxAnswer is more than any application answers to a push.
	maxAnswer = 1 << 20

	// maxSame is how often a push can be under way at a time. WeChat repeats one
	// after 5 seconds; more come where the application's URL leads back here.
	maxSame = 3
)

// forwarder passes pushes on to an application.
type forwarder struct {
	target    *url.URL
	transport *http.Transport

	mu       sync.Mutex
	underWay map[string]int // by the signature
}

// newForwarder returns a forwarder to a URL, which may be nil.
func newForwarder(target *url.URL) forwarder {
	return forwarder{
		target: target,
		transport: &http.Transport{
			// The application is in the own network, where no proxy leads.
			Proxy:       nil,
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			// On a connection that was kept, a push may be lost, and they are rare.
			DisableKeepAlives: true,
			// Answers are passed on as they are.
			DisableCompression: true,
		},
		underWay: make(map[string]int),
	}
}

func (f *forwarder) close() { f.transport.CloseIdleConnections() }

// applicationAnswer is what goes back to WeChat of an application's answer.
type applicationAnswer struct {
	status int
	header http.Header
	body   []byte
}

// passOn has the application answer a push, as far as WeChat may hear of it: a
// ticket is no concern of the application's any more.
func (h *Handler) passOn(ctx context.Context, w http.ResponseWriter, r *http.Request, body []byte, event push.Event) {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	a, err := h.forwards.send(ctx, r, body)
	if err != nil {
		if first, skipped := h.log.First("forward", logInterval); first {
			h.Logger.Warn("the application does not answer a push that was passed on to it: see that it runs, and compare forward with its URL",
				append(h.fieldsOf(event), zap.String("forward", h.Forward.String()), zap.Error(err), zap.Int("more", skipped))...)
		}
	}
	switch {
	case event.InfoType == push.ComponentVerifyTicket:
		writeText(w, http.StatusOK, Success)
	case err != nil:
		writeText(w, http.StatusBadGateway, http.StatusText(http.StatusBadGateway))
	default:
		a.writeTo(w)
	}
}

// writeTo answers WeChat as the application has answered.
func (a *applicationAnswer) writeTo(w http.ResponseWriter) {
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if values, ok := a.header[name]; ok {
			w.Header()[name] = values
		}
	}
	if _, ok := a.header["Content-Type"]; !ok {
		w.Header()["Content-Type"] = nil // or else one is guessed
	}
	w.WriteHeader(a.status)
	// The client may be gone, which is no concern of the proxy's.
	_, _ = w.Write(a.body)
}

// send sends a push to the application, and reads what that answers.
func (f *forwarder) send(ctx context.Context, r *http.Request, body []byte) (*applicationAnswer, error) {
	leave, err := f.enter(r.URL.Query().Get("msg_signature"))
	if err != nil {
		return nil, err
	}
	defer leave()
	res, err := f.transport.RoundTrip(f.request(ctx, r, body))
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, causeOf(ctx, err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("its answer is larger than %d bytes", maxAnswer)
	case res.StatusCode < http.StatusOK:
		return nil, fmt.Errorf("its answer has status %d", res.StatusCode)
	}
	return &applicationAnswer{res.StatusCode, res.Header, answer}, nil
}

// causeOf tells an application that is slow from one that breaks off.
func causeOf(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it takes longer than %v", forwardTimeout)
	}
	return err
}

// request returns the push as the application gets it. Of the header it has no
// more than what the body is, and who says to have sent it.
func (f *forwarder) request(ctx context.Context, r *http.Request, body []byte) *http.Request {
	target := *f.target
	target.RawQuery, target.ForceQuery = r.URL.RawQuery, r.URL.ForceQuery
	header := http.Header{"User-Agent": {r.UserAgent()}} // an empty one is not sent
	if values, ok := r.Header["Content-Type"]; ok {
		header["Content-Type"] = values
	}
	out := &http.Request{
		Method: http.MethodPost, URL: &target, Host: target.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
	return out.WithContext(ctx)
}

var errLoop = errors.New("the URL leads back to this proxy")

// enter notes that a push is under way, unless it is so too often already.
func (f *forwarder) enter(signature string) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.underWay[signature] >= maxSame {
		return nil, errLoop
	}
	f.underWay[signature]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.underWay[signature]--; f.underWay[signature] == 0 {
			delete(f.underWay, signature)
		}
	}, nil
}
