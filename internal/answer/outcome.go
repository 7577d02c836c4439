package answer

import (
	"strconv"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// Outcome is what became of a request, for placeholders and log lines.
type Outcome struct {
	Account, Caller   string
	Errcode, Replayed int
	RID               string
}

// Refused notes an error of the proxy's own.
func (o *Outcome) Refused(e *Error) {
	if e.Account != nil {
		o.Account = e.Account.Name
	}
	if e.Caller != "" {
		o.Caller = e.Caller
	}
	o.Errcode, o.Replayed, o.RID = e.Errcode, e.Replayed, wechat.RIDOf(e.Message)
}

// Placeholder returns the value of a placeholder, and reports whether it is one of
// a request's outcome.
func (o *Outcome) Placeholder(key string) (any, bool) {
	switch key {
	case "http.weixin.account":
		return o.Account, true
	case "http.weixin.caller":
		return o.Caller, true
	case "http.weixin.errcode":
		return errcodeText(o.Errcode), true
	case "http.weixin.replayed":
		return errcodeText(o.Replayed), true
	case "http.weixin.rid":
		return o.RID, true
	}
	return nil, false
}

func errcodeText(errcode int) string {
	if errcode == wechat.OK {
		return ""
	}
	return strconv.Itoa(errcode)
}

// String is for those who print all variables of a request.
func (o *Outcome) String() string { return o.Account }
