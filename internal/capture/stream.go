package capture

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// A taker takes a tunnel's connection, and what was read of it already, unless
// there is an error.
type taker = func(conn net.Conn, early *bufio.Reader) error

// Hijack answers a CONNECT request of HTTP/1, whose tunnel is the connection
// that the request came over.
func Hijack(w http.ResponseWriter, take taker) error {
	// Caddy's own writers count what goes through a connection, long after they
	// have told what they have counted.
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	// Where it cannot be written, the site sees the same.
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	if err := take(conn, buffered.Reader); err != nil {
		conn.Close()
	}
	return nil
}

// Stream answers a CONNECT request of HTTP/2 or HTTP/3, whose tunnel is the
// request's body and the answer's. It returns when the tunnel is over.
func Stream(w http.ResponseWriter, req *http.Request, take taker) error {
	// http.Server interrupts reads by deadlines, which end such a body for good.
	// Those of a pipe do not.
	near, far := net.Pipe()
	defer near.Close()
	if err := take(far, nil); err != nil {
		far.Close()
		return err
	}
	w.WriteHeader(http.StatusOK)
	down := &flusher{w: w, controller: http.NewResponseController(w)}
	if err := down.controller.Flush(); err != nil {
		return nil // the client is gone
	}
	var up sync.WaitGroup
	up.Go(func() {
		// At the end of what the client sends, the site may still have to answer.
		if _, err := io.Copy(near, req.Body); err != nil {
			near.Close()
		}
	})
	// It ends when either side ends the tunnel.
	_, _ = io.Copy(down, near)
	near.Close()
	// The body must not be read any more when the request is over. Its Close
	// must not be called while it is.
	if err := down.controller.SetReadDeadline(time.Unix(1, 0)); err != nil {
		req.Body.Close()
	}
	up.Wait()
	return nil
}

// flusher sends at once what is written.
type flusher struct {
	w          io.Writer
	controller *http.ResponseController
}

func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.controller.Flush()
	}
	return n, err
}
