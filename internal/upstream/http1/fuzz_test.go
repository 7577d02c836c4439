package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"testing"
)

// fuzzed is everything a caller sees of an answer.
type fuzzed struct {
	Informational []string
	Err           bool
	Status        string
	StatusCode    int
	Proto         string
	Header        http.Header
	ContentLength int64
	Encoding      []string
	Close         bool
	NoBody        bool
	Announced     http.Header
	Body          string
	BodyErr       bool
	Trailer       http.Header
}

// ask has an upstream answer a request with data, in pieces as cuts says, and
// then close the connection.
func ask(t *testing.T, tr transport, method string, data, cuts []byte) fuzzed {
	ended := make(chan struct{})
	c := tr.make(config{dial: func(context.Context, string, string) (net.Conn, error) {
		// Connections in memory: a piece is what one Read gets, and there is
		// no reset that overtakes data.
		ours, theirs := net.Pipe()
		go func() {
			defer close(ended)
			defer ours.Close()
			req, err := http.ReadRequest(bufio.NewReader(ours))
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			for rest, cut := data, cuts; len(rest) > 0; {
				n := len(rest)
				if len(cut) > 0 {
					n, cut = min(n, 1+int(cut[0])), cut[1:]
				}
				if _, err := ours.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		return theirs, nil
	}})
	defer c.CloseIdleConnections()

	var f fuzzed
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			f.Informational = append(f.Informational, fmt.Sprint(code, h))
			return nil
		},
	})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var body io.Reader
	if method == "POST" {
		body = newBody("hello")
	}
	res, err := c.RoundTrip(newRequestContext(t, ctx, method, "http://a.example/", body))
	if f.Err = err != nil; f.Err {
		if ctx.Err() != nil {
			t.Fatalf("%s: no answer to %q in pieces of %v", tr.name, data, cuts)
		}
		<-ended
		return f
	}
	f.Status, f.StatusCode, f.Proto = res.Status, res.StatusCode, res.Proto
	f.Header, f.ContentLength, f.Encoding = res.Header.Clone(), res.ContentLength, res.TransferEncoding
	f.Close, f.NoBody, f.Announced = res.Close, res.Body == http.NoBody, res.Trailer.Clone()
	b, err := io.ReadAll(res.Body)
	f.Body, f.BodyErr = string(b), err != nil
	f.Trailer = res.Trailer
	res.Body.Close()
	if ctx.Err() != nil {
		t.Fatalf("%s: no end of %q in pieces of %v", tr.name, data, cuts)
	}
	c.CloseIdleConnections()
	<-ended
	return f
}

// Whatever an upstream sends, in whatever pieces: both transports see the same.
// What may differ:
//   - 101 is an error to http1.
//   - After an error of the body, the trailer, and how much of the body came
//     with it if not all that was there: net/http's is what fitted its buffer.
//   - Lines of chunk sizes and trailers that do not fit net/http's buffer of
//     4 KB are errors to it; the input is shorter than that.
func FuzzResponse(f *testing.F) {
	for i, test := range answerTests {
		if len(test.raw) > 4000 {
			continue
		}
		m := map[string]uint8{"": 0, "HEAD": 1}[test.method]
		f.Add([]byte(test.raw), []byte{}, m)
		f.Add([]byte(test.raw), []byte{byte(i), 0, 3}, m)
		f.Add([]byte(test.raw), make([]byte, len(test.raw)), uint8(2)) // byte by byte
	}
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello"), []byte{}, uint8(0))
	f.Fuzz(func(t *testing.T, data, cuts []byte, m uint8) {
		if len(data) > 4000 {
			t.Skip()
		}
		method := []string{"GET", "HEAD", "POST"}[m%3]
		var got [2]fuzzed
		for i, tr := range transports {
			got[i] = ask(t, tr, method, data, cuts)
			if got[i].StatusCode == http.StatusSwitchingProtocols && tr.switches {
				got[i] = fuzzed{Informational: got[i].Informational, Err: true}
			}
			if got[i].BodyErr {
				got[i].Trailer = nil
			}
		}
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s, %q in pieces of %v:\n%s: %+v\n%s: %+v", method, data, cuts, transports[0].name, got[0], transports[1].name, got[1])
		}
	})
}
