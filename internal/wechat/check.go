package wechat

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
)

// maxCheckAnswer bounds an answer to a check: a list of addresses.
const maxCheckAnswer = 64 << 10

// TokenVerdict is what a check says of a token.
type TokenVerdict uint8

const (
	// TokenUnknown is an answer that says nothing of the token, or none.
	TokenUnknown TokenVerdict = iota
	// TokenGood is a token that was accepted.
	TokenGood
	// TokenRejected is a token that was refused.
	TokenRejected
)

// CheckToken finds out by a harmless call whether WeChat accepts a token, which
// is given as it stands in a query. WeChat looks at the token before it looks at
// anything else, so an answer that is about something else says that it is good,
// unless it is that there is no such API: private deployments lack some.
func (k *Kind) CheckToken(ctx context.Context, rt http.RoundTripper, base *url.URL, token string) TokenVerdict {
	u := base.JoinPath(k.CheckPath)
	u.RawQuery = k.TokenParam + "=" + token
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return TokenUnknown
	}
	res, err := open(rt, req)
	if err != nil {
		return TokenUnknown
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return TokenUnknown
	}
	if errcode, ok := k.HeaderErrcode(res.Header); ok {
		return k.verdictOf(errcode) // whenever the body comes
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxCheckAnswer))
	if err != nil {
		return TokenUnknown
	}
	return k.judgeCheck(body)
}

// judgeCheck returns what an answer with status 200 says.
func (k *Kind) judgeCheck(body []byte) TokenVerdict {
	object := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff")))
	if len(object) == 0 || object[0] != '{' || !json.Valid(object) {
		return TokenUnknown
	}
	errcode, result := ScanErrcode(object)
	if result != ScanFound {
		return TokenGood
	}
	return k.verdictOf(errcode)
}

// verdictOf returns what an errcode says of the token.
func (k *Kind) verdictOf(errcode int) TokenVerdict {
	switch {
	case k.IsTokenError(errcode):
		return TokenRejected
	case errcode < 0, errcode == InvalidURL, !k.Accepts(errcode):
		return TokenUnknown
	default:
		return TokenGood
	}
}
