package weixin

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
)

// outcomeKey is where a request's variables have its outcome.
const outcomeKey = "weixin.outcome"

// newOutcome returns the outcome of a request that is handled from now on. Its
// placeholders, which the Handler's documentation lists, are there from now on.
// A request that reverse_proxy sends again has one outcome, that of the last
// attempt.
func newOutcome(req *http.Request) *answer.Outcome {
	vars, _ := req.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if o, ok := vars[outcomeKey].(*answer.Outcome); ok {
		*o = answer.Outcome{}
		return o
	}
	o := new(answer.Outcome)
	if vars != nil {
		vars[outcomeKey] = o
	}
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(o.Placeholder)
	}
	return o
}

// outcomeOf returns the outcome of the request that a context belongs to, or one
// that nobody sees.
func outcomeOf(ctx context.Context) *answer.Outcome {
	if o, ok := caddyhttp.GetVar(ctx, outcomeKey).(*answer.Outcome); ok {
		return o
	}
	return new(answer.Outcome)
}
