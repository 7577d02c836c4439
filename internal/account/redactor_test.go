package account

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	echoToken    = "92_EchoTokenEchoTokenEchoTokenEchoToken"
	echoPrevious = "91_PreviousPreviousPreviousPrevious"
	echoSecret   = "00112233445566778899aabbccddeeff"
)

func TestRedactor(t *testing.T) {
	a := &Account{Credentials: wechat.Credentials{Secret: echoSecret}}
	text := strings.Join([]string{echoSecret, echoToken, echoPrevious}, " ")
	if got := a.Redactor("").String(text); got != "REDACTED "+echoToken+" "+echoPrevious {
		t.Errorf("before there is a token: %s", got)
	}
	previous, token := echoPrevious, echoToken
	a.Redactor(previous)
	r := a.Redactor(token)
	if got := r.String(text); got != "REDACTED REDACTED REDACTED" {
		t.Errorf("got %s", got)
	}
	// Requests with either are under way: nothing is made anew.
	if a.Redactor(previous) != r || a.Redactor("") != r || a.Redactor(token) != r {
		t.Error("another redactor for a token that is known")
	}
	for i := range 100 {
		a.Redactor(fmt.Sprintf("token number %d of many", i))
	}
	if n := len(a.redaction.known.Load().tokens); n != maxKnownTokens {
		t.Errorf("%d tokens are known", n)
	}
}
