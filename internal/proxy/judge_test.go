package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

const (
	answer40001 = `{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r rid: 6aac0063-7ed08fb9-1250f724"}`
	answer42001 = `{"errcode":42001,"errmsg":"access_token expired rid: 6aac0063-7ed08fb9-1250f726"}`
)

// answerBody is a body that comes in pieces, counts how it is used, and after
// the pieces returns err.
type answerBody struct {
	pieces   []string
	err      error // io.EOF if nil
	withLast bool  // err comes with the last piece, not after it
	ended    bool
	reads    int
	closed   int
}

// errReadAgain is what a body returns that is read after its end, since a
// reader need not give the same error twice.
var errReadAgain = errors.New("read after the end")

func (b *answerBody) Read(p []byte) (int, error) {
	b.reads++
	if b.ended {
		return 0, errReadAgain
	}
	n := 0
	if len(b.pieces) > 0 {
		n = copy(p, b.pieces[0])
		if b.pieces[0] = b.pieces[0][n:]; b.pieces[0] == "" {
			b.pieces = b.pieces[1:]
		}
	}
	if len(b.pieces) > 0 || n > 0 && !b.withLast {
		return n, nil
	}
	b.ended = true
	if b.err != nil {
		return n, b.err
	}
	return n, io.EOF
}

func (b *answerBody) Close() error {
	b.closed++
	return nil
}

func answerOf(body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Body: body, ContentLength: -1, Header: make(http.Header)}
}

func TestInspectVerdicts(t *testing.T) {
	rejected := func(errcode int) verdict { return verdict{errcode: errcode, rejected: true} }
	accepted := func(errcode int) verdict { return verdict{errcode: errcode, accepted: true} }
	pad := func(answer string, length int) string {
		return answer[:len(answer)-2] + strings.Repeat(".", length-len(answer)) + answer[len(answer)-2:]
	}
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   verdict
	}{
		{"40001", 200, answer40001, rejected(40001)},
		{"42001", 200, answer42001, rejected(42001)},
		{"40014", 200, `{"errcode":40014,"errmsg":"invalid access_token"}`, rejected(40014)},
		{"errmsg first", 200, `{"errmsg":"access_token expired","errcode":42001}`, rejected(42001)},
		{"a line break after it", 200, answer42001 + "\n", rejected(42001)},
		{"as long as can be", 200, pad(answer42001, maxTokenErrorLength), rejected(42001)},

		{"longer than can be", 200, pad(answer42001, maxTokenErrorLength+1), verdict{errcode: 42001}},
		{"much longer", 200, pad(answer42001, 100_000), verdict{errcode: 42001}},
		{"busy", 200, `{"errcode":-1,"errmsg":"system error"}`, verdict{errcode: -1}},
		{"no token arrived", 200, `{"errcode":41001,"errmsg":"access_token missing"}`, verdict{errcode: 41001}},
		{"with status 500", 500, answer40001, verdict{}},
		{"with status 412", 412, answer40001, verdict{}},
		{"with status 201", 201, answer40001, verdict{}},
		{"with status 302", 302, answer40001, verdict{}},

		{"success", 200, `{"errcode":0,"errmsg":"ok"}`, accepted(0)},
		{"success without errcode", 200, `{"total":2,"data":{"openid":["a","b"]},"next_openid":"b"}`, accepted(0)},
		{"another errcode", 200, `{"errcode":40013,"errmsg":"invalid appid"}`, accepted(40013)},
		{"quota", 200, `{"errcode":45009,"errmsg":"reach max api daily quota limit"}`, accepted(45009)},
		{"another kind of token", 200, `{"errcode":42007,"errmsg":"x"}`, accepted(42007)},
		{"nested", 200, `{"list":[{"errcode":40001}]}`, accepted(0)},
		{"in a string", 200, `{"data":"{\"errcode\":40001}"}`, accepted(0)},
		{"as text", 200, `{"errcode":"40001"}`, rejected(40001)},
		{"with a fraction", 200, `{"errcode":40001.0}`, rejected(40001)},
		{"in the old device APIs", 200, `{"base_resp":{"errcode":42001,"errmsg":"x"}}`, rejected(42001)},
		{"byte order mark and line break", 200, "\ufeff\r\n" + answer40001, rejected(40001)},
		{"text that is no number", 200, `{"errcode":"ok"}`, accepted(0)},
		{"the backend failed", 200, `{"errcode":-1000,"errmsg":"system error"}`, verdict{errcode: -1000}},
		{"a picture", 200, "\xff\xd8\xff\xe0" + strings.Repeat("\x00", 10_000), accepted(0)},
		{"long JSON", 200, `{"data":"` + strings.Repeat("x", 100_000) + `","errcode":40001}`, accepted(0)},
		{"a long errmsg before it", 200, `{"errmsg":"` + strings.Repeat("x", 100_000) + `","errcode":40001}`, accepted(0)},
	} {
		for _, end := range []string{"", " with the last bytes"} {
			t.Run(tc.name+end, func(t *testing.T) {
				body := &answerBody{pieces: []string{tc.body}, withLast: end != ""}
				res := answerOf(body)
				res.StatusCode = tc.status
				if got := inspect(res, wechat.Official); got != tc.want {
					t.Errorf("verdict %+v, want %+v", got, tc.want)
				}
				if got, err := io.ReadAll(res.Body); err != nil || string(got) != tc.body {
					t.Errorf("the client gets %d bytes (%.60q), %v", len(got), got, err)
				}
				if res.Body.Close() != nil || body.closed != 1 {
					t.Errorf("the original body was closed %d times", body.closed)
				}
			})
		}
	}
}

// An object that begins with another member than WeChat's errors do is looked at
// as far as it is there, and not waited for.
func TestInspectUnlikelyErrors(t *testing.T) {
	const text = `{"rid":"1","errcode":42001,"errmsg":"access_token expired"}`
	long := `{"rid":"` + strings.Repeat("1", 3_000) + `","errcode":42001}`
	for _, tc := range []struct {
		name   string
		body   answerBody
		length int64
		want   bool
	}{
		{"at once", answerBody{pieces: []string{text}, withLast: true}, -1, true},
		{"at once, the end later", answerBody{pieces: []string{text}}, -1, true},
		{"long, with its length", answerBody{pieces: []string{long}, withLast: true}, int64(len(long)), true},
		{"cut before the errcode", answerBody{pieces: []string{text[:8], text[8:]}, withLast: true}, -1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Join(tc.body.pieces, "")
			res := answerOf(&tc.body)
			res.ContentLength = tc.length
			if v := inspect(res, wechat.Official); v.rejected != tc.want {
				t.Errorf("verdict %+v", v)
			}
			wantBody(t, res.Body, text)
		})
	}
}

// How the network cuts an answer must not matter.
func TestInspectPieces(t *testing.T) {
	for _, text := range []string{answer40001, answer42001, `{"errmsg":"ok","errcode":0,"msgid":1}`, `{"errcode":-1}`} {
		want := inspect(answerOf(&answerBody{pieces: []string{text}}), wechat.Official)
		for cut := range text {
			res := answerOf(&answerBody{pieces: []string{text[:cut], text[cut:]}})
			if got := inspect(res, wechat.Official); got != want {
				t.Errorf("cut after %q: %+v, want %+v", text[:cut], got, want)
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != text {
				t.Errorf("cut after %q: %q, %v", text[:cut], got, err)
			}
		}
		for name, wrap := range map[string]func(io.Reader) io.Reader{"byte by byte": iotest.OneByteReader, "EOF with data": iotest.DataErrReader} {
			res := answerOf(io.NopCloser(wrap(strings.NewReader(text))))
			if got := inspect(res, wechat.Official); got != want {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
			wantBody(t, res.Body, text)
		}
	}
}

// An answer is not held back for what it may yet say, once it cannot say that
// the token is dead.
func TestInspectDoesNotWait(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pieces []string
		reads  int
	}{
		{"success", []string{`{"errcode":0,`}, 1},
		{"success, errmsg first", []string{`{"errmsg":"ok","errcode":0}`}, 1},
		{"success in two pieces", []string{`{"errcode":0`, `,`}, 2},
		{"another error", []string{`{"errcode":45009,`}, 1},
		{"busy", []string{`{"errcode":-1}`}, 1},
		{"a picture", []string{"\xff"}, 1},
		{"text", []string{"2026-03-01,1,2,3\n"}, 1},
		{"an array", []string{"["}, 1},
		{"empty object", []string{"{}"}, 1},
		{"the beginning of other JSON", []string{`{"total":1`}, 1},
		{"other JSON in two pieces", []string{`{"`, `data":[`}, 2},
		{"errcode that is none", []string{`{"errcode":n`}, 1},
		{"another error as text", []string{`{"errcode":"45009"`}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source := newStallingReader()
			res := answerOf(io.NopCloser(source))
			done := make(chan verdict)
			go func() { done <- inspect(res, wechat.Official) }()
			for i, piece := range tc.pieces {
				select {
				case <-source.waiting:
					source.data <- piece
				case v := <-done:
					t.Fatalf("verdict %+v after %d pieces", v, i)
				}
			}
			select {
			case <-source.waiting:
				t.Fatal("waits for more")
			case v := <-done:
				if v.rejected || len(tc.pieces) != tc.reads {
					t.Errorf("verdict %+v after %d pieces", v, len(tc.pieces))
				}
			}
			// What is there can be read without the rest.
			want := strings.Join(tc.pieces, "")
			got := make([]byte, len(want))
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
				t.Errorf("the client gets %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestInspectBoundsWhatItReads(t *testing.T) {
	for name, piece := range map[string]string{
		"errmsg without end":     `{"errmsg":"` + strings.Repeat("x", 1<<20),
		"white space":            `{` + strings.Repeat(" ", 1<<20),
		"token error and spaces": `{"errcode":40001}` + strings.Repeat(" ", 1<<20),
		"other JSON":             `{"data":"` + strings.Repeat("x", 1<<20),
	} {
		body := &answerBody{pieces: []string{piece}}
		v := inspect(answerOf(body), wechat.Official)
		if read := len(piece) - len(body.pieces[0]); read > 2*maxTokenErrorLength || v.rejected {
			t.Errorf("%s: %d bytes were read, verdict %+v", name, read, v)
		}
	}
}

// A body that cannot be a token error is not touched.
func TestInspectReadsNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*http.Response)
	}{
		{"too long", func(res *http.Response) { res.ContentLength = maxTokenErrorLength + 1 }},
		{"status 206", func(res *http.Response) { res.StatusCode = http.StatusPartialContent }},
		{"status 500", func(res *http.Response) { res.StatusCode = http.StatusInternalServerError }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := &answerBody{pieces: []string{answer40001}}
			res := answerOf(body)
			tc.change(res)
			if v := inspect(res, wechat.Official); v.rejected || v.errcode != 0 {
				t.Errorf("verdict %+v", v)
			}
			if body.reads != 0 || body.closed != 0 || res.Body != io.ReadCloser(body) {
				t.Errorf("%d reads, closed %d times", body.reads, body.closed)
			}
		})
	}
}

// An answer without a body has no room for an errcode, to HEAD above all. It
// must not count as a proof that the token is good.
func TestInspectWithoutBody(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		if v := inspect(answerOf(body), wechat.Official); v != (verdict{}) {
			t.Errorf("verdict %+v of no body", v)
		}
	}
}

// A connection that breaks while the answer is looked at breaks for the client
// at the same byte, and proves nothing about the token.
func TestInspectBrokenAnswer(t *testing.T) {
	for _, text := range []string{"", "{", `{"errcode":40001`, answer40001[:100], answer40001} {
		for _, withLast := range []bool{false, true} {
			for _, broken := range []error{io.ErrUnexpectedEOF, errors.New("connection reset")} {
				body := &answerBody{pieces: []string{text}, err: broken, withLast: withLast}
				res := answerOf(body)
				if v := inspect(res, wechat.Official); v.rejected || v.accepted {
					t.Errorf("%q, %v: verdict %+v", text, broken, v)
				}
				if got, err := io.ReadAll(res.Body); string(got) != text || !errors.Is(err, broken) {
					t.Errorf("%q, %v: the client gets %q, %v", text, broken, got, err)
				}
			}
		}
	}
}

// Nothing in inspect knows official accounts.
func TestInspectOtherPlace(t *testing.T) {
	other := wechat.Kind{TokenErrors: []int{40082}}
	if v := inspect(answerOf(&answerBody{pieces: []string{`{"errcode":40082}`}}), &other); !v.rejected || v.errcode != 40082 {
		t.Errorf("verdict %+v", v)
	}
	if v := inspect(answerOf(&answerBody{pieces: []string{answer40001}}), &other); v.rejected {
		t.Errorf("verdict %+v", v)
	}
}

// Where the header has the errcode, nothing of the body is waited for.
func TestInspectHeader(t *testing.T) {
	for value, want := range map[string]verdict{
		"0":     {accepted: true},
		"42001": {errcode: 42001, rejected: true},
		"40014": {errcode: 40014, rejected: true},
		"40001": {errcode: 40001, accepted: true}, // it is about the secret
		"-1":    {errcode: -1},
		"60020": {errcode: 60020, accepted: true},
	} {
		body := &answerBody{pieces: []string{answer40001}}
		res := answerOf(body)
		res.Header = http.Header{wechat.WeCom.ErrorHeader: {value}}
		if got := inspect(res, wechat.WeCom); got != want {
			t.Errorf("%s: %+v, want %+v", value, got, want)
		}
		if len(body.pieces) != 1 {
			t.Errorf("%s: the body was read", value)
		}
	}
	for _, value := range []string{"", "x", "42001x"} {
		res := answerOf(&answerBody{pieces: []string{`{"errcode":42001}`}})
		res.Header = http.Header{wechat.WeCom.ErrorHeader: {value}}
		if got := inspect(res, wechat.WeCom); got != (verdict{errcode: 42001, rejected: true}) {
			t.Errorf("%q in the header, the errcode in the body: %+v", value, got)
		}
	}
}

func TestInspectThroughHTTP(t *testing.T) {
	picture := strings.Repeat("\xff\xd8\x00", 100_000)
	for _, tc := range []struct {
		name, body string
		flush      bool
		want       verdict
	}{
		{"token error with a length", answer40001, false, verdict{errcode: 40001, rejected: true}},
		{"token error, chunked", answer40001, true, verdict{errcode: 40001, rejected: true}},
		{"picture with a length", picture, false, verdict{accepted: true}},
		{"picture, chunked", picture, true, verdict{accepted: true}},
		{"nothing", "", false, verdict{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if !tc.flush {
					w.Header().Set("Content-Length", fmt.Sprint(len(tc.body)))
				}
				for piece := tc.body; piece != ""; {
					n := min(len(piece), 50)
					if !tc.flush {
						n = len(piece)
					}
					_, _ = io.WriteString(w, piece[:n])
					if piece = piece[n:]; len(tc.body) < 1_000 {
						_ = http.NewResponseController(w).Flush()
					}
				}
			}))
			defer server.Close()
			res, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := inspect(res, wechat.Official); got != tc.want {
				t.Errorf("verdict %+v, want %+v", got, tc.want)
			}
			wantBody(t, res.Body, tc.body)
		})
	}
}

// FuzzInspect cuts an answer as sizes say and ends it as end says: the client
// gets every byte, and then the end, whatever was made of it.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(answer40001), []byte{1, 100, 20}, uint8(0))
	f.Add([]byte(answer42001), []byte{10}, uint8(1))
	f.Add([]byte(`{"errcode":0,"errmsg":"ok"}`), []byte{3}, uint8(2))
	f.Add([]byte(`{"total":1,"errcode":40001}`), []byte{5, 255}, uint8(3))
	f.Add([]byte("\xff\xd8\xff"), []byte{}, uint8(0))
	f.Add([]byte(`{"data":"`+strings.Repeat("x", 600)+`","errcode":40014}`), []byte{255, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, text, sizes []byte, end uint8) {
		body := &answerBody{withLast: end&1 != 0}
		if end&2 != 0 {
			body.err = errors.New("connection reset")
		}
		for rest, i := text, 0; len(rest) > 0; i++ {
			n := len(rest)
			if i < len(sizes) {
				n = min(n, 1+int(sizes[i]))
			}
			body.pieces = append(body.pieces, string(rest[:n]))
			rest = rest[n:]
		}
		res := answerOf(body)
		v := inspect(res, wechat.Official)

		got, err := io.ReadAll(res.Body)
		if !bytes.Equal(got, text) || !errors.Is(err, body.err) {
			t.Fatalf("the client gets %q, %v; want %q, %v", got, err, text, body.err)
		}
		if res.Body.Close() != nil || body.closed != 1 {
			t.Fatalf("closed %d times", body.closed)
		}
		errcode, result := wechat.ScanErrcode(text)
		dead := result == wechat.ScanFound && wechat.Official.IsTokenError(errcode) && len(text) <= maxTokenErrorLength && body.err == nil
		switch {
		case v.rejected && v.accepted:
			t.Fatalf("%q: %+v", text, v)
		case v.rejected && (!dead || v.errcode != errcode):
			t.Fatalf("%q: %+v is no token error", text, v)
		case !v.rejected && dead && (bytes.HasPrefix(text, []byte(`{"errcode":`)) || bytes.HasPrefix(text, []byte(`{"errmsg":"`))):
			t.Fatalf("%q: %+v is a token error", text, v)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	for name, text := range map[string]string{"success": `{"errcode":0,"errmsg":"ok"}`, "token error": answer40001} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				inspect(answerOf(io.NopCloser(strings.NewReader(text))), wechat.Official)
			}
		})
	}
}
