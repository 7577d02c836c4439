package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
)

const (
	// maxHints is how many 1xx answers a client gets for a request. WeChat sends
	// none, and few are of use to anybody.
	maxHints = 10

	// maxHintsOfAttempt is how many an attempt may have. It takes a server that
	// has gone wild to send so many.
	maxHintsOfAttempt = 1000
)

// informer passes 1xx answers on. They follow the rules of final ones, and a
// client gets none of an attempt that was refused for its token: while an answer
// is still to be judged, its 1xx answers are held back.
//
// It is the context that a request is sent with, whose trace has the answers come
// here.
type informer struct {
	context.Context // the request's

	traced sync.Once
	trace  *httptrace.ClientTrace // made where it is asked for

	// One of these two passes an answer on.
	client http.ResponseWriter
	outer  func(int, textproto.MIMEHeader) error // of who has the client

	// deaf is whether the client understands no 1xx answers.
	deaf bool

	// mu is held while one is passed on. http.Transport reads answers on a
	// goroutine of its own, which may go on for a while after the request has
	// failed.
	mu       sync.Mutex
	attempt  *exchange // whose answers come; nil when no more may be passed on
	hold     bool
	received int // in this attempt
	held     []hint
	passed   int
}

// hint is a 1xx answer.
type hint struct {
	status int
	header http.Header
}

// Value implements context.Context. Most requests have no 1xx answers, and nobody
// asks for their trace.
func (i *informer) Value(key any) any {
	if key != traceKey {
		return i.Context.Value(key)
	}
	i.traced.Do(i.makeTrace)
	return i.trace
}

// makeTrace makes a trace with all there was but for 1xx answers, which
// httptrace.WithClientTrace would have go both ways.
func (i *informer) makeTrace() {
	i.trace = new(httptrace.ClientTrace)
	if outer := httptrace.ContextClientTrace(i.Context); outer != nil {
		*i.trace, i.outer = *outer, outer.Got1xxResponse
	}
	i.trace.Got1xxResponse = i.got
}

// traceKey is the key under which a context has its httptrace.ClientTrace.
var traceKey = func() any {
	var c keyCatcher
	httptrace.ContextClientTrace(&c)
	return c.key
}()

// keyCatcher is a context that remembers which key it was asked for.
type keyCatcher struct {
	context.Context
	key any
}

// Value implements context.Context.
func (c *keyCatcher) Value(key any) any {
	c.key = key
	return nil
}

var errTooManyHints = errors.New("WeChat sends 1xx answers without end")

func (i *informer) got(status int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.attempt == nil {
		return nil
	}
	if i.received++; i.received > maxHintsOfAttempt {
		return errTooManyHints
	}
	if i.deaf || i.passed+len(i.held) >= maxHints {
		return nil
	}
	h := hint{status, http.Header(header)}
	if i.hold {
		i.held = append(i.held, h)
		return nil
	}
	i.passLocked(h)
	return nil
}

// begin is called before an attempt. Its answers are held back where it will be
// judged.
func (i *informer) begin(x *exchange, hold bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attempt, i.hold, i.received, i.held = x, hold, 0, nil
}

// judged is called when it is known whether an attempt was refused for its token.
func (i *informer) judged(refused bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !refused {
		for _, h := range i.held {
			i.passLocked(h)
		}
	}
	i.held, i.attempt = nil, nil
}

// end is called when the final answer is there, or none comes.
func (i *informer) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held, i.attempt = nil, nil
}

func (i *informer) passLocked(h hint) {
	i.passed++
	header := make(http.Header)
	copyAnswerHeader(header, h.header)
	delete(header, "Content-Length")
	i.attempt.redactor().Header(header)
	if i.client == nil {
		if i.outer != nil {
			// It may wish to hear no more, which is no failure of the request's.
			_ = i.outer(h.status, textproto.MIMEHeader(header))
		}
		return
	}
	own := i.client.Header()
	before := own.Clone()
	maps.Copy(own, header)
	i.client.WriteHeader(h.status)
	// These were the header of that answer alone.
	clear(own)
	maps.Copy(own, before)
}
