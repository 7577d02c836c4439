package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	echoToken    = "92_EchoTokenEchoTokenEchoTokenEchoToken"
	echoPrevious = "91_PreviousPreviousPreviousPrevious"
	echoSecret   = "00112233445566778899aabbccddeeff"
)

// echoAccount is an account that has used two tokens.
func echoAccount() *account.Account {
	a := &account.Account{Name: "shop", Credentials: wechat.Credentials{ID: "wx1", Secret: echoSecret}, Kind: wechat.Official}
	a.Redactor(echoPrevious)
	a.Redactor(echoToken)
	return a
}

// An answer is without secrets, and its length true, however it comes.
func TestRedactAnswer(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"none", `{"errcode":0}`, `{"errcode":0}`},
		{"token", `{"errcode":40013,"errmsg":"` + echoToken + `"}`, `{"errcode":40013,"errmsg":"REDACTED"}`},
		{"in a success", `{"x":"` + echoPrevious + `","y":"` + echoSecret + `"}`, `{"x":"REDACTED","y":"REDACTED"}`},
		{"no JSON", "<a href='?access_token=" + echoToken + "'>", "<a href='?access_token=REDACTED'>"},
		{"nothing else", echoToken, "REDACTED"},
		{"empty", "", ""},
	} {
		for _, status := range []int{200, 400, 500} {
			for _, known := range []bool{true, false} {
				for cut := range len(tc.body) + 1 {
					body := &answerBody{pieces: []string{tc.body[:cut], tc.body[cut:]}}
					res := answerOf(body)
					res.StatusCode = status
					if known {
						res.ContentLength = int64(len(tc.body))
						res.Header.Set("Content-Length", fmt.Sprint(len(tc.body)))
					}
					res.Header.Set("X-Echo", echoToken)
					a := echoAccount()
					inspect(res, a.Kind)
					redactAnswer(res, a.Redactor(""))
					got, err := io.ReadAll(res.Body)
					inOne := cut == len(tc.body)
					if err != nil || known && inOne && string(got) != tc.want || !inOne && len(got) != len(tc.body) && len(got) != len(tc.want) ||
						strings.Contains(string(got), "EchoTokenEchoToken") || strings.Contains(string(got), "8899aabbccddeeff") {
						t.Fatalf("%s, status %d, known %t, cut after %d: %q, %v", tc.name, status, known, cut, got, err)
					}
					if known && (res.ContentLength != int64(len(got)) || res.Header.Get("Content-Length") != fmt.Sprint(len(got))) {
						t.Errorf("%s: length %d and %s of %d", tc.name, res.ContentLength, res.Header.Get("Content-Length"), len(got))
					}
					if res.Header.Get("X-Echo") != "REDACTED" {
						t.Errorf("%s, status %d, known %t: X-Echo %s", tc.name, status, known, res.Header.Get("X-Echo"))
					}
					res.Body.Close()
					if body.closed != 1 {
						t.Errorf("closed %d times", body.closed)
					}
				}
			}
		}
	}
}

// A long answer goes through as it is, and one that breaks off breaks off.
func TestRedactAnswerLeavesTheRest(t *testing.T) {
	a := echoAccount()
	long := strings.Repeat("x", maxTokenErrorLength) + echoToken + strings.Repeat("y", 100_000)
	for _, length := range []int64{-1, int64(len(long))} {
		res := answerOf(&answerBody{pieces: []string{long}})
		res.ContentLength = length
		inspect(res, a.Kind)
		redactAnswer(res, a.Redactor(""))
		wantBody(t, res.Body, long)
	}
	for _, length := range []int64{-1, 1_000} {
		broken := errors.New("connection reset")
		res := answerOf(&answerBody{pieces: []string{"<x>" + echoToken}, err: broken})
		res.ContentLength = length
		res.Header.Set("Content-Length", fmt.Sprint(length))
		inspect(res, a.Kind)
		redactAnswer(res, a.Redactor(""))
		got, err := io.ReadAll(res.Body)
		if !strings.HasPrefix(string(got), "<x>REDACTED") || strings.Contains(string(got), "EchoToken") || !errors.Is(err, broken) || res.ContentLength != length {
			t.Errorf("length %d: %q, %v, then %d", length, got, err, res.ContentLength)
		}
	}
}

// What comes goes on when it comes.
func TestRedactAnswerDoesNotWait(t *testing.T) {
	a, source := echoAccount(), newStallingReader()
	res := answerOf(io.NopCloser(source))
	res.StatusCode = http.StatusInternalServerError
	redactAnswer(res, a.Redactor(""))
	for _, piece := range []string{"one", "two\n", "92", "three"} {
		go func() {
			<-source.waiting
			source.data <- piece
		}()
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != piece {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestRedactTrailer(t *testing.T) {
	a := echoAccount()
	res := answerOf(&answerBody{pieces: []string{"[]"}})
	res.StatusCode = http.StatusAccepted
	redactAnswer(res, a.Redactor(""))
	res.Trailer = http.Header{"X-Late": {echoSecret}}
	wantBody(t, res.Body, "[]")
	if got := res.Trailer.Get("X-Late"); got != "REDACTED" {
		t.Errorf("trailer %s", got)
	}
}

// Files and encoded answers are no verdict.
func TestInspectFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		header http.Header
		want   verdict
	}{
		"a file":             {http.Header{"Content-Disposition": {`attachment; filename="x.jpg"`}}, verdict{accepted: true}},
		"compressed":         {http.Header{"Content-Encoding": {"gzip"}}, verdict{encoded: true}},
		"identity":           {http.Header{"Content-Encoding": {"Identity"}}, verdict{errcode: 40001, rejected: true}},
		"twice":              {http.Header{"Content-Encoding": {"identity, br"}}, verdict{encoded: true}},
		"an empty encoding":  {http.Header{"Content-Encoding": {""}}, verdict{errcode: 40001, rejected: true}},
		"an empty file name": {http.Header{"Content-Disposition": {""}}, verdict{accepted: true}},
	} {
		for _, length := range []int64{-1, int64(len(answer40001))} {
			res := answerOf(&answerBody{pieces: []string{answer40001}})
			res.Header, res.ContentLength = tc.header, length
			if got := inspect(res, wechat.Official); got != tc.want {
				t.Errorf("%s, length %d: %+v, want %+v", name, length, got, tc.want)
			}
			wantBody(t, res.Body, answer40001)
		}
	}
}

// BenchmarkRedactAnswer is what looking for secrets adds to a small answer.
func BenchmarkRedactAnswer(b *testing.B) {
	a := echoAccount()
	token := echoToken
	header := http.Header{
		"Content-Type": {"application/json; encoding=utf-8"}, "Content-Length": {"27"}, "Date": {"Thu, 26 Nov 2026 16:32:00 GMT"},
		"Connection": {"keep-alive"}, "Logicret": {"0"}, "Retkey": {"11"},
	}
	text := []byte(`{"errcode":0,"errmsg":"ok"}`)
	b.ReportAllocs()
	for b.Loop() {
		body := &prefixedBody{prefix: text, err: io.EOF}
		res := &http.Response{StatusCode: http.StatusOK, Header: header, Body: body, ContentLength: int64(len(text))}
		redactAnswer(res, a.Redactor(token))
	}
}
