package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// blob is an answer that is no JSON.
type blob struct {
	contentType string
	filename    string // "" where it is no download
	data        []byte
}

// write writes the answer: what is to be written as JSON, a blob, or an error,
// which is an *apiError unless the request's body could not be read.
func (c *call) write(w http.ResponseWriter, r *route, result any, err error) {
	if err != nil {
		refused, ok := errors.AsType[*apiError](err)
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		result = c.failure(refused)
	}
	header := w.Header()
	if c.wecom {
		setWeComHeaders(header, result)
	}
	answer, isBlob := result.(blob)
	if !isBlob {
		answer = blob{contentType: c.jsonType(), data: encode(result)}
		if c.sealed != nil && err == nil {
			answer.data = c.seal(header, answer.data)
		}
	}
	header.Set("Content-Type", answer.contentType)
	if answer.filename != "" {
		header.Set("Content-Disposition", `attachment; filename="`+answer.filename+`"`)
	}
	if isBlob && r != nil && r.ranges {
		http.ServeContent(w, c.r, "", time.Time{}, bytes.NewReader(answer.data))
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.data)))
	// A client that has gone is none of the sandbox's business.
	_, _ = w.Write(answer.data)
}

// status is the errcode of an answer. Answers that have one embed it.
type status struct {
	Errcode int    `json:"errcode"`
	Errmsg  string `json:"errmsg"`
}

var okStatus = status{Errcode: success, Errmsg: "ok"}

// failure is the answer of an error, and notes a rid so that it can be asked
// for.
func (c *call) failure(refused *apiError) status {
	if c.wecom {
		return status{Errcode: refused.code, Errmsg: refused.msg + weComHint(c.r, refused.code)}
	}
	rid := newRID()
	answer := status{Errcode: refused.code, Errmsg: refused.msg + " rid: " + rid}
	c.server.noteRID(c, rid, answer)
	return answer
}

// jsonType is the content type that WeChat gives its JSON: it depends on the
// path, and is not always one of JSON.
func (c *call) jsonType() string {
	path := c.r.URL.Path
	switch {
	case c.wecom, strings.HasPrefix(path, "/wxa/"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(path, "/sns/"), strings.HasPrefix(path, "/cgi-bin/media/"):
		return "text/plain"
	}
	return "application/json; encoding=utf-8"
}

// encode writes JSON as WeChat does: without HTML's escapes and without a line
// feed at the end.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // a type of this package that cannot be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// newRID returns a request ID of the form that ends WeChat's errmsgs.
func newRID() string {
	return fmt.Sprintf("%08x-%08x-%08x", uint32(time.Now().Unix()), rand.Uint32(), rand.Uint32())
}
