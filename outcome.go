package weixin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// outcome is what became of a request. Its placeholders, which the Handler's
// documentation lists, are there from the moment the request is handled.
type outcome struct {
	account, caller   string
	errcode, replayed int
	rid               string
}

// outcomeKey is where a request's variables have its outcome.
const outcomeKey = "weixin.outcome"

// newOutcome returns the outcome of a request that is handled from now on. One
// that reverse_proxy sends again has one outcome, that of the last attempt.
func newOutcome(req *http.Request) *outcome {
	if o, ok := caddyhttp.GetVar(req.Context(), outcomeKey).(*outcome); ok {
		*o = outcome{}
		return o
	}
	o := new(outcome)
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(o.placeholder)
	}
	if req.Context().Value(caddyhttp.VarsCtxKey) != nil {
		caddyhttp.SetVar(req.Context(), outcomeKey, o)
	}
	return o
}

// outcomeOf returns the outcome of the request that a context belongs to, or one
// that nobody sees.
func outcomeOf(ctx context.Context) *outcome {
	if o, ok := caddyhttp.GetVar(ctx, outcomeKey).(*outcome); ok {
		return o
	}
	return new(outcome)
}

func (o *outcome) placeholder(key string) (any, bool) {
	switch key {
	case "http.weixin.account":
		return o.account, true
	case "http.weixin.caller":
		return o.caller, true
	case "http.weixin.errcode":
		return errcodeText(o.errcode), true
	case "http.weixin.replayed":
		return errcodeText(o.replayed), true
	case "http.weixin.rid":
		return o.rid, true
	}
	return nil, false
}

func errcodeText(errcode int) string {
	if errcode == wechat.OK {
		return ""
	}
	return strconv.Itoa(errcode)
}

// of notes whose request it is, as far as that is known.
func (o *outcome) of(account *Account, caller *caller) {
	if account != nil {
		o.account = account.Name
	}
	if caller != nil {
		o.caller = caller.name
	}
}

// refused notes an error of the proxy's own.
func (o *outcome) refused(err *proxyError) {
	o.of(err.account, err.caller)
	o.errcode, o.replayed, o.rid = err.errcode, err.replayed, wechat.RIDOf(err.message)
}

// answered notes what the beginning of WeChat's answer says. It returns the
// errmsg, where that matters.
func (o *outcome) answered(h http.Header, beginning []byte) (errmsg string) {
	if isFile(h) || isEncoded(h) {
		return ""
	}
	errcode, _ := wechat.ScanErrcode(beginning)
	o.errcode = errcode
	if errcode != wechat.OK {
		errmsg = wechat.ErrmsgOf(beginning)
		o.rid = wechat.RIDOf(errmsg)
	}
	return errmsg
}

// String is for those who print all variables of a request.
func (o *outcome) String() string { return o.account }
