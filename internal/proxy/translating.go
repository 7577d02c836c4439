package proxy

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
)

// maxTranslatedAnswer bounds an answer that is translated. A list of accounts has
// some 100 KB.
const maxTranslatedAnswer = 8 << 20

// translate has the client see what it may of an answer. One that cannot be read
// as a whole is not shown; it is closed then.
func (x *exchange) translate(res *http.Response) error {
	if x.Translate == nil || isEmpty(res) || x.Method == http.MethodHead {
		return nil
	}
	body, err := x.translated(res)
	if err != nil {
		res.Body.Close()
		return err
	}
	setBody(res, body)
	return nil
}

func (x *exchange) translated(res *http.Response) ([]byte, error) {
	if isEncoded(res.Header) {
		return nil, unshown("has a Content-Encoding that was not asked for")
	}
	from := &patientReader{body: res.Body, timeout: x.Timeout}
	body, err := io.ReadAll(io.LimitReader(from, maxTranslatedAnswer+1))
	switch {
	case errors.Is(err, errAnswerStalls):
		return nil, err
	case err != nil:
		return nil, unshown("has broken off")
	case len(body) > maxTranslatedAnswer:
		return nil, unshown("is longer than any")
	case len(body) == 0:
		return nil, nil
	}
	return x.Translate(x.ctx, body)
}

// unshown is the answer in place of one that may show tokens.
func unshown(why string) error {
	return answer.Unavailable(http.StatusBadGateway, "WeChat's answer may show tokens, and cannot be read: it "+why)
}
