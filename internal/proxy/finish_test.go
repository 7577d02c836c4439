package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-weixin/caddy-weixin/internal/answer"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// What an answer says is noted once, and as a whole, into whatever pieces it is cut.
func TestFinishNotesPieces(t *testing.T) {
	const text = `{"errcode":48001,"errmsg":"api unauthorized rid: 1a-2b"}`
	for _, judged := range []bool{true, false} {
		for _, length := range []int64{-1, int64(len(text))} {
			for cut := range len(text) {
				core, logs := observer.New(zap.DebugLevel)
				x := &exchange{
					Proxy:   New(Config{Logger: zap.New(core)}),
					Request: Request{Request: newTestRequest(t), Account: echoAccount(), Outcome: new(answer.Outcome)},
				}
				res := answerOf(&answerBody{pieces: []string{text[:cut], text[cut:]}})
				res.ContentLength = length
				if judged {
					inspect(res, x.Account.Kind)
				}
				x.finish(res)
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if string(got) != text || err != nil {
					t.Errorf("cut after %d: %q, %v", cut, got, err)
				}
				if o := x.Outcome; o.Errcode != 48001 || o.RID != "1a-2b" {
					t.Errorf("judged %t, length %d, cut after %d: errcode %d, rid %q", judged, length, cut, o.Errcode, o.RID)
				}
				if lines := logs.FilterMessage("WeChat answered with an errcode").All(); len(lines) != 1 || lines[0].ContextMap()["errmsg"] != "api unauthorized rid: 1a-2b" {
					t.Errorf("judged %t, length %d, cut after %d: %v", judged, length, cut, lines)
				}
			}
		}
	}
}

// An answer without a body has its header looked at all the same.
func TestFinishNotesHeader(t *testing.T) {
	for name, body := range map[string]io.ReadCloser{"none": http.NoBody, "nil": nil, "empty": io.NopCloser(strings.NewReader(""))} {
		for _, judged := range []bool{true, false} {
			a := echoAccount()
			a.Kind = wechat.WeCom
			x := &exchange{
				Proxy:   New(Config{Logger: zap.NewNop()}),
				Request: Request{Request: newTestRequest(t), Account: a, Outcome: new(answer.Outcome)},
			}
			res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Error-Code": {"60020"}}, Body: body, ContentLength: -1}
			if judged {
				inspect(res, a.Kind)
			}
			x.finish(res)
			if res.Body != nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			if x.Outcome.Errcode != 60020 {
				t.Errorf("%s, judged %t: errcode %d", name, judged, x.Outcome.Errcode)
			}
		}
	}
}

func newTestRequest(t *testing.T) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/cgi-bin/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
