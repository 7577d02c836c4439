package answer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

func TestProxyErrorKinds(t *testing.T) {
	for _, tc := range []struct {
		err             error
		status, errcode int
	}{
		{BadRequest("x"), 400, 40035},
		{Forbidden("x"), 403, 48001},
		{TooLarge("x"), 413, 45001},
		{Unavailable(http.StatusBadGateway, "x"), 502, -1},
		{Unavailable(http.StatusServiceUnavailable, "x"), 503, -1},
		{Unavailable(http.StatusGatewayTimeout, "x"), 504, -1},
	} {
		if e := From(tc.err); e.Status != tc.status || e.Errcode != tc.errcode || e.Error() != "x" {
			t.Errorf("got %+v, want status %d, errcode %d", tc.err, tc.status, tc.errcode)
		}
	}
}

// The answer is the same, whichever way it goes out.
func TestProxyErrorAnswer(t *testing.T) {
	for _, tc := range []struct {
		name, message, body, retryAfter string
		after                           time.Duration
	}{
		{name: "plain", message: "no account", body: `{"errcode":40035,"errmsg":"weixin proxy: no account"}`},
		{name: "not escaped for HTML", message: `<a> & "b"`, body: `{"errcode":40035,"errmsg":"weixin proxy: <a> & \"b\""}`},
		{name: "Chinese", message: "账号", body: `{"errcode":40035,"errmsg":"weixin proxy: 账号"}`},
		{name: "line breaks", message: "a\r\nb\n", body: `{"errcode":40035,"errmsg":"weixin proxy: a\r\nb\n"}`},
		{name: "no UTF-8", message: "a\xffb", body: `{"errcode":40035,"errmsg":"weixin proxy: a\ufffdb"}`},
		{name: "empty", body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
		{name: "retry in a nanosecond", after: 1, retryAfter: "1", body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
		{name: "retry in a second", after: time.Second, retryAfter: "1", body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
		{name: "retry in a bit more", after: time.Second + 1, retryAfter: "2", body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
		{name: "retry in a day", after: 24 * time.Hour, retryAfter: "86400", body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
		{name: "no retry", after: -time.Second, body: `{"errcode":40035,"errmsg":"weixin proxy: "}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := From(BadRequest(tc.message))
			err.RetryAfter = tc.after
			recorder := httptest.NewRecorder()
			err.Write(recorder)
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			for way, res := range map[string]*http.Response{"written": recorder.Result(), "returned": err.Response(req)} {
				body, readErr := io.ReadAll(res.Body)
				if readErr != nil || string(body) != tc.body || !json.Valid(body) {
					t.Errorf("%s: body %s, %v; want %s", way, body, readErr, tc.body)
				}
				if res.StatusCode != http.StatusBadRequest || res.ContentLength != int64(len(body)) {
					t.Errorf("%s: status %d, length %d", way, res.StatusCode, res.ContentLength)
				}
				for name, want := range map[string]string{
					"Content-Type":           "application/json; charset=utf-8",
					"Content-Length":         strconv.Itoa(len(tc.body)),
					"X-Content-Type-Options": "nosniff",
					"Retry-After":            tc.retryAfter,
				} {
					if got := res.Header.Get(name); got != want {
						t.Errorf("%s: %s %q, want %q", way, name, got, want)
					}
				}
				if err := res.Body.Close(); err != nil {
					t.Error(err)
				}
			}
			if res := err.Response(req); res.Request != req || res.Status != "400 Bad Request" || !res.ProtoAtLeast(1, 1) {
				t.Errorf("response %+v", res)
			}
		})
	}
}

// Log lines have no use for a query, which may hold tokens and secrets.
func TestLogRefusal(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want zapcore.Level
	}{
		{BadRequest("x"), zapcore.InfoLevel},
		{TooLarge("x"), zapcore.InfoLevel},
		{Forbidden("x"), zapcore.WarnLevel},
		{Unavailable(http.StatusBadGateway, "x"), zapcore.ErrorLevel},
		{Unavailable(http.StatusServiceUnavailable, "x"), zapcore.ErrorLevel},
		{&Error{Status: http.StatusBadGateway, Errcode: wechat.InvalidRefreshToken, Message: "x"}, zapcore.WarnLevel},
		{&Error{Status: http.StatusServiceUnavailable, Errcode: wechat.Unauthorized, Message: "x"}, zapcore.WarnLevel},
		{&Error{Status: http.StatusBadGateway, Errcode: wechat.InvalidVerifyTicket, Message: "x"}, zapcore.ErrorLevel},
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		req := httptest.NewRequest(http.MethodPost, "/cgi-bin/x?access_token=CANARY&secret=CANARY", nil)
		req.Header.Set("Authorization", "Bearer CANARY")
		l := NewLog(zap.New(core))
		l.LogRefusal(req, From(tc.err), netip.Addr{})
		l.Close()
		status := From(tc.err).Status
		entries := logs.All()
		if len(entries) != 1 || entries[0].Level != tc.want {
			t.Errorf("status %d: %+v", status, entries)
			continue
		}
		line, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}).EncodeEntry(entries[0].Entry, entries[0].Context)
		if err != nil {
			t.Fatal(err)
		}
		if text := line.String(); strings.Contains(text, "CANARY") || !strings.Contains(text, `"/cgi-bin/x"`) || !strings.Contains(text, strconv.Itoa(status)) {
			t.Errorf("log line %s", text)
		}
	}
}

// The cause is the operator's business: an answer goes to whoever asked.
func TestProxyErrorCause(t *testing.T) {
	refused := From(Unavailable(http.StatusBadGateway, "x"))
	refused.Cause = errors.New("CAUSE")
	if body := string(refused.Body()); strings.Contains(body+refused.Error(), "CAUSE") {
		t.Errorf("body %s", body)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	l := NewLog(zap.New(core))
	defer l.Close()
	l.LogRefusal(httptest.NewRequest(http.MethodGet, "/", nil), refused, netip.Addr{})
	if logged := logs.All(); len(logged) != 1 || logged[0].ContextMap()["cause"] != "CAUSE" {
		t.Errorf("logged %+v", logged)
	}
}

func TestLogRefusalBelowLevel(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	l := NewLog(zap.New(core))
	defer l.Close()
	l.LogRefusal(httptest.NewRequest(http.MethodGet, "/", nil), From(BadRequest("x")), netip.Addr{})
	if logs.Len() > 0 {
		t.Errorf("%+v", logs.All())
	}
}
