package http1

import (
	"bytes"
	"errors"
	"math"
	"net/http"
)

var errTooManyFields = errors.New("http1: the header of the answer has too many fields")

// extraLines are in a header beside its fields: the first and the last.
const extraLines = 2

// maxLines returns how many lines the header of an answer may have.
func (t *Transport) maxLines() int {
	if t.MaxResponseFields == 0 {
		return math.MaxInt
	}
	return t.MaxResponseFields + extraLines
}

var newline = []byte{'\n'}

// countLines counts lines while a header is read. They may be lines of the body,
// but then no more is read of the header.
func (c *conn) countLines(p []byte) {
	if c.linesLeft < math.MaxInt {
		c.linesLeft -= bytes.Count(p, newline)
	}
}

// hasTooManyFields reports whether a header has more fields than it may have.
func (x *exchange) hasTooManyFields(h http.Header) bool {
	most := x.transport.MaxResponseFields
	// The lines were counted already, with some that may belong to the body.
	if most == 0 || x.linesLeft >= 0 {
		return false
	}
	fields := 0
	for _, values := range h {
		fields += len(values)
	}
	return fields > most
}
