package wechat

import (
	"errors"
	"io"
	"net/http"
)

// UserAgent is what the proxy's own requests are sent as.
const UserAgent = "caddy-weixin"

// OwnAnswer is WeChat's answer to a request of the proxy's own.
type OwnAnswer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send sends a request of the proxy's own, and returns the answer with at most so
// many bytes of its body. It uses the RoundTripper itself: an http.Client would
// follow redirects and put the URL, and with it a secret, into its errors. Those of
// the RoundTripper may hold one still: see RedactError.
func Send(rt http.RoundTripper, req *http.Request, most int64) (*OwnAnswer, error) {
	res, err := open(rt, req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return nil, err
	}
	return &OwnAnswer{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// open sends a request of the proxy's own, and returns the answer once its header is
// here.
func open(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", UserAgent)
	return rt.RoundTrip(req)
}

// RedactError returns an error whose text redact leaves as it is. An error's chain
// is kept where its text shows no secret.
func RedactError(err error, redact func(string) string) error {
	text := err.Error()
	if shown := redact(text); shown != text {
		return errors.New(shown)
	}
	return err
}
