package proxy

import (
	"net/http"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// injector puts into a request what an account has and its applications need not
// know: its token, or its signature. Each attempt is injected anew.
type injector interface {
	// inject changes the request of an attempt.
	inject(out *http.Request) error

	// restore makes the attempt's answer what it would have been had nothing been
	// injected. Whoever calls it closes the answer's body where it fails.
	restore(res *http.Response) error
}

// injectors returns what is injected into the exchange's requests, in its order:
// what covers a request as a whole comes last. Those that are not needed are nil.
func (x *exchange) injectors() [2]injector {
	var all [2]injector
	if x.token != nil {
		all[0] = (*tokenInjector)(x)
	}
	if x.sealing != nil {
		all[1] = x.sealing
	}
	return all
}

// inject changes the request of an attempt. Its body is closed where that fails.
func (x *exchange) inject(out *http.Request) error {
	for _, i := range x.injectors() {
		if i == nil {
			continue
		}
		if err := i.inject(out); err != nil {
			closeBody(out)
			return err
		}
	}
	return nil
}

// restore undoes in an attempt's answer what was injected. The answer is closed
// where that fails.
func (x *exchange) restore(res *http.Response) error {
	all := x.injectors()
	for n := len(all) - 1; n >= 0; n-- {
		if all[n] == nil {
			continue
		}
		if err := all[n].restore(res); err != nil {
			res.Body.Close()
			return err
		}
	}
	return nil
}

func closeBody(out *http.Request) {
	if out.Body != nil {
		out.Body.Close()
	}
}

// tokenInjector puts the token in use into the query.
type tokenInjector exchange

func (i *tokenInjector) inject(out *http.Request) error {
	out.URL.RawQuery = setParams(out.URL.RawQuery, i.TokenParams, i.token.Escaped())
	return nil
}

// setParams returns a query with parameters set.
func setParams(rawQuery string, names []string, escapedValue string) string {
	for _, name := range names {
		rawQuery = wechat.SetQueryParam(rawQuery, name, escapedValue)
	}
	return rawQuery
}

// restore has nothing to do: what answers repeat of tokens is removed from all
// of them.
func (i *tokenInjector) restore(*http.Response) error { return nil }

// Interface guards
var (
	_ injector = (*tokenInjector)(nil)
	_ injector = (*sealing)(nil)
)
