package weixin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/answer"
)

func requireMethod(req *http.Request, method string) error {
	if req.Method != method {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method %s is not allowed: use %s", req.Method, method)}
	}
	return nil
}

func writeStatus(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	return json.NewEncoder(w).Encode(v)
}

func notFound(message string) error {
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New(message)}
}

func badRequest(message string) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(message)}
}

// maxRefreshBody bounds the body of a refresh, which is a fingerprint at most.
const maxRefreshBody = 4 << 10

// renew renews a token. An optional body {"rejected":"<fingerprint>"} makes it
// compare-and-swap.
func renew(w http.ResponseWriter, req *http.Request, a *account.Account) error {
	var order struct {
		Rejected string `json:"rejected"`
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRefreshBody))
	if err == nil && len(body) > 0 {
		err = unmarshalStrict(body, &order)
	}
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(`the body is none of {"rejected":"<fingerprint>"}: write that, or leave it out`)}
	}
	if err := a.Renew(req.Context(), order.Rejected); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: errors.New(tokenMessage(err, a))}
	}
	return nil
}

// unmarshalStrict decodes one JSON value whose fields are all known, and nothing
// behind it.
func unmarshalStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is something behind the value")
	}
	return nil
}

// tokenMessage returns what to tell of a failure to get a token.
func tokenMessage(err error, a *account.Account) string {
	if tokenErr, ok := errors.AsType[*account.TokenError](err); ok {
		return answer.TokenFailure(tokenErr, a, a.Now()).Error()
	}
	return err.Error()
}
