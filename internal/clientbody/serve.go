package clientbody

import (
	"net/http"
	"strconv"
	"time"
)

var (
	// beforeAnswer is for the rest of a body that nobody needs. It is read before
	// the answer, as WeChat does: an answer that comes earlier is lost to clients
	// that send their whole request before they look for one, costs the
	// connection, and has a Caddy with idle limits in front of this one take the
	// rest for another request. Who has sent nothing for a second is not sending,
	// and ten are enough for what servers send to one another. As for bytes, it
	// is what a gigabit line carries in that time.
	beforeAnswer = Limits{Bytes: 1 << 30, Total: 10 * time.Second, Idle: time.Second}

	// lingering is for a client that goes on sending after its answer. If the
	// connection were closed at once, it would see a reset instead.
	lingering = Limits{Bytes: 1 << 30, Total: 10 * time.Second, Idle: time.Second}
)

// Serve calls a handler with a request whose body is a *Body, and sees to what
// is left of it. A request without a body is passed on as it is.
func Serve(w http.ResponseWriter, req *http.Request, handle func(http.ResponseWriter, *http.Request)) {
	if mayHideBody(req) {
		w.Header().Set("Connection", "close")
	}
	if none(req) {
		handle(w, req)
		return
	}
	g := &guard{ResponseWriter: w, body: newBody(req, http.NewResponseController(w).SetReadDeadline)}
	defer g.body.end() // after a panic too
	req.Body = g.body
	handle(g, req)
	g.finish()
}

// PassOn notes that the answer comes from elsewhere, and would break off if the
// request's context ended. The server ends that when a Read takes too long.
func PassOn(w http.ResponseWriter) {
	if g, ok := w.(*guard); ok {
		g.passedOn = true
	}
}

// guard is the answer to a request that has a body.
type guard struct {
	http.ResponseWriter
	body     *Body
	passedOn bool
	answered bool
	status   int

	// held is an answer without a length that goes out before the end of the
	// body. A client knows that it is complete only when the handler has
	// returned, unless it is told a length.
	held    []byte
	holding bool
}

// Unwrap is for http.ResponseController.
func (g *guard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (g *guard) WriteHeader(status int) {
	if status >= http.StatusOK {
		g.settle(status)
	}
	if !g.holding {
		g.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (g *guard) Write(p []byte) (int, error) {
	if !g.answered {
		g.WriteHeader(http.StatusOK)
	}
	if g.holding {
		g.held = append(g.held, p...)
		return len(p), nil
	}
	return g.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (g *guard) FlushError() error {
	if !g.answered {
		g.WriteHeader(http.StatusOK)
	}
	g.letGo()
	return http.NewResponseController(g.ResponseWriter).Flush()
}

// settle decides, before the header goes out, whether the connection is kept.
func (g *guard) settle(status int) {
	if g.answered {
		return
	}
	g.answered, g.status = true, status
	b := g.body
	if b.ended.Load() || !g.passedOn && !b.waits() && b.readFrom(b.source, b.setReadDeadline, beforeAnswer) || !b.isHTTP1() {
		return
	}
	g.Header().Set("Connection", "close")
	g.holding = !g.passedOn && !g.hasLength()
}

// hasLength reports whether the client can tell where the answer ends.
func (g *guard) hasLength() bool {
	return len(g.Header()["Content-Length"]) > 0 || g.body.req.Method == http.MethodHead ||
		g.status == http.StatusNoContent || g.status == http.StatusNotModified
}

// letGo sends what is held.
func (g *guard) letGo() {
	if !g.holding {
		return
	}
	g.holding = false
	g.ResponseWriter.WriteHeader(g.status)
	// The client may be gone, which the handler would learn no sooner.
	_, _ = g.ResponseWriter.Write(g.held)
}

// finish ends the answer, and reads what a client still sends that has it. That
// is nobody else's business any more.
func (g *guard) finish() {
	if g.holding {
		g.Header().Set("Content-Length", strconv.Itoa(len(g.held)))
		g.letGo()
	}
	b := g.body
	if !g.answered || !b.isHTTP1() || b.ended.Load() || !g.hasLength() {
		return
	}
	b.revoked.Store(true)
	if http.NewResponseController(g.ResponseWriter).Flush() == nil {
		b.readFrom(b.below.source, b.below.setReadDeadline, lingering)
	}
}
