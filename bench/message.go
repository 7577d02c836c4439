package main

import (
	"bytes"
	"errors"
	"io"
)

// The client and the upstream speak HTTP/1.1 by hand. They share the cores with
// what is measured, and net/http would cost more than most of the proxies do.

// wire reads messages from a connection. What it returns lies in its buffer and
// is good until the next call.
type wire struct {
	src        io.Reader
	buf        []byte
	start, end int // of what was read and not yet consumed
}

var (
	errTooLong   = errors.New("a message does not fit into the buffer")
	errMalformed = errors.New("a message is not HTTP/1.1")
)

// head returns the next head: the first line, the fields and the empty line.
// The error is io.EOF if the other side has closed the connection before it.
func (w *wire) head() ([]byte, error) {
	return w.until("\r\n\r\n")
}

// line returns the next line with its end.
func (w *wire) line() ([]byte, error) {
	return w.until("\r\n")
}

func (w *wire) until(mark string) ([]byte, error) {
	for searched := 0; ; {
		unread := w.buf[w.start:w.end]
		if i := bytes.Index(unread[searched:], []byte(mark)); i >= 0 {
			n := searched + i + len(mark)
			w.start += n
			return unread[:n], nil
		}
		searched = max(0, len(unread)-len(mark)+1)
		if err := w.fill(); err != nil {
			if errors.Is(err, io.EOF) && len(unread) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// bytes returns the next n bytes, which have to fit into the buffer.
func (w *wire) bytes(n int64) ([]byte, error) {
	for int64(w.end-w.start) < n {
		if err := w.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
	b := w.buf[w.start : w.start+int(n)]
	w.start += int(n)
	return b, nil
}

// pass hands the next n bytes to use, piece by piece, and keeps none.
func (w *wire) pass(n int64, use func([]byte)) error {
	for n > 0 {
		if w.start == w.end {
			w.start, w.end = 0, 0
			if err := w.fill(); err != nil {
				return unexpected(err)
			}
		}
		piece := w.buf[w.start:w.end]
		if int64(len(piece)) > n {
			piece = piece[:n]
		}
		if use != nil {
			use(piece)
		}
		w.start += len(piece)
		n -= int64(len(piece))
	}
	return nil
}

// fill reads once.
func (w *wire) fill() error {
	if w.start == w.end {
		w.start, w.end = 0, 0
	}
	if w.end == len(w.buf) {
		if w.start == 0 {
			return errTooLong
		}
		w.end = copy(w.buf, w.buf[w.start:w.end])
		w.start = 0
	}
	n, err := w.src.Read(w.buf[w.end:])
	w.end += n
	if n > 0 {
		return nil // the error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fields are what has to be known of a head to find the end of the message.
type fields struct {
	length  int64 // Content-Length, or -1
	chunked bool
	closes  bool // Connection: close
	expects bool // Expect: 100-continue
}

// parseFields reads the lines that follow the first one of a head.
func parseFields(lines []byte) (fields, error) {
	f := fields{length: -1}
	for {
		line, rest, ok := bytes.Cut(lines, []byte("\r\n"))
		if !ok {
			return f, errMalformed
		}
		if len(line) == 0 {
			return f, nil
		}
		lines = rest
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return f, errMalformed
		}
		switch {
		case equalFold(name, "content-length"):
			n, ok := parseInt(bytes.TrimSpace(value), 10)
			if !ok {
				return f, errMalformed
			}
			f.length = n
		case equalFold(name, "transfer-encoding"):
			f.chunked = true
		case equalFold(name, "connection"):
			f.closes = f.closes || equalFold(bytes.TrimSpace(value), "close")
		case equalFold(name, "expect"):
			f.expects = true
		}
	}
}

// splitRequest returns the path, the query and the fields of a request.
func splitRequest(head []byte) (path, query, lines []byte, err error) {
	first, lines, _ := bytes.Cut(head, []byte("\r\n"))
	_, rest, ok := bytes.Cut(first, []byte(" "))
	if !ok {
		return nil, nil, nil, errMalformed
	}
	target, ok := bytes.CutSuffix(rest, []byte(" HTTP/1.1"))
	if !ok {
		return nil, nil, nil, errMalformed
	}
	path, query, _ = bytes.Cut(target, []byte("?"))
	return path, query, lines, nil
}

// splitAnswer returns the status of an answer.
func splitAnswer(head []byte) (status int, lines []byte, err error) {
	first, lines, _ := bytes.Cut(head, []byte("\r\n"))
	rest, ok := bytes.CutPrefix(first, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 {
		return 0, nil, errMalformed
	}
	n, ok := parseInt(rest[:3], 10)
	if !ok {
		return 0, nil, errMalformed
	}
	return int(n), lines, nil
}

// equalFold compares a name with one in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// parseInt reads a number that is no larger than any body here.
func parseInt(b []byte, base int64) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		var digit int64
		switch {
		case '0' <= c && c <= '9':
			digit = int64(c - '0')
		case 'a' <= c && c <= 'f':
			digit = int64(c-'a') + 10
		case 'A' <= c && c <= 'F':
			digit = int64(c-'A') + 10
		default:
			return 0, false
		}
		if digit >= base || n > 1<<40 {
			return 0, false
		}
		n = n*base + digit
	}
	return n, true
}
