package wechat

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const (
	plainSecret = "0123456789abcdef0123456789abcdef"
	plainToken  = "92_Zk3uJx-Qw8_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ABCDEFGHIJKLMNOPQRST"
	oddToken    = `a/b+c=d&e"f<g>h\i%41j~k*l'm(n)o!p` // every escape there is
)

// dresses are the ways in which a secret may come back.
func dresses(secret string) map[string]string {
	inJSON := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b[1 : len(b)-1])
	}
	unicode := func(s, format string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, format, s[i])
		}
		return b.String()
	}
	lower := func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				b.WriteString(strings.ToLower(s[i : i+3]))
				i += 2
				continue
			}
			b.WriteByte(s[i])
		}
		return b.String()
	}
	std, raw := base64.StdEncoding.EncodeToString, base64.RawStdEncoding.EncodeToString
	web, rawWeb := base64.URLEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	d := map[string]string{
		"plain":                      secret,
		"in a query":                 url.QueryEscape(secret),
		"in a path":                  url.PathEscape(secret),
		"in a query, lower case":     lower(url.QueryEscape(secret)),
		"every character escaped":    unicode(secret, "%%%02X"),
		"the same in lower case":     unicode(secret, "%%%02x"),
		"in a query of a query":      url.QueryEscape(url.QueryEscape(secret)),
		"in JSON":                    inJSON(secret),
		"in JSON as PHP writes it":   strings.ReplaceAll(inJSON(secret), "/", `\/`),
		"in JSON, all escaped":       unicode(secret, `\u%04x`),
		"in JSON, all escaped, caps": unicode(secret, `\u%04X`),
		"in JSON in JSON":            inJSON(inJSON(secret)),
		"in a query in JSON":         inJSON(url.QueryEscape(secret)),
		"JSON in a query":            url.QueryEscape(inJSON(secret)),
	}
	for i, before := range []string{"", "a", "ab", "abc", "wx0000000000000001:"} {
		for j, after := range []string{"", ":", "@@", "xyz"} {
			text := before + secret + after
			d[fmt.Sprintf("base64 %d %d", i, j)] = std([]byte(text))
			d[fmt.Sprintf("base64 %d %d without padding", i, j)] = raw([]byte(text))
			d[fmt.Sprintf("base64 %d %d for URLs", i, j)] = web([]byte(text))
			d[fmt.Sprintf("base64 %d %d for URLs without padding", i, j)] = rawWeb([]byte(text))
			d[fmt.Sprintf("base64 %d %d in a query", i, j)] = url.QueryEscape(std([]byte(text)))
			d[fmt.Sprintf("base64 %d %d in JSON", i, j)] = strings.ReplaceAll(std([]byte(text)), "/", `\/`)
		}
	}
	return d
}

func TestRedactor(t *testing.T) {
	for _, secret := range []string{plainSecret, plainToken, oddToken, "with a space + and %20", "sixsix", strings.Repeat("ab", 100)} {
		others := []string{plainSecret + "x", "an earlier token of it", secret}
		r := NewRedactor(others...)
		for name, dress := range dresses(secret) {
			for _, text := range []string{"%s", `{"errcode":0,"errmsg":"%s is it"}`, "?access_token=%s&x=1", strings.Repeat("{\"x\":1},", 97) + " %s\n", "%[1]s, %[1]s"} {
				text = strings.ReplaceAll(strings.ReplaceAll(text, "%[1]s", dress), "%s", dress)
				got := string(r.Bytes([]byte(text)))
				if strings.Contains(got, dress) || !strings.Contains(got, redactedText) {
					t.Errorf("%s (%d characters) is in %.300q", name, len(secret), got)
				}
				if viaString := r.String(text); viaString != got {
					t.Errorf("%s: String and Bytes differ", name)
				}
			}
		}
	}
}

// What stands around a secret is not touched, nor is a text without one.
func TestRedactorLeavesTheRest(t *testing.T) {
	r := NewRedactor(plainSecret, plainToken)
	for in, want := range map[string]string{
		`{"a":"` + plainSecret + `","b":"` + plainToken + `"}`:            `{"a":"REDACTED","b":"REDACTED"}`,
		`{"a":"\u4e2d\/` + plainSecret + `\n"}`:                           `{"a":"\u4e2d\/REDACTED\n"}`,
		"%" + plainSecret + "%4":                                          "%REDACTED%4",
		"Basic " + base64.StdEncoding.EncodeToString([]byte(plainSecret)): "Basic REDACTED",
		plainSecret + plainSecret:                                         "REDACTEDREDACTED",
		plainSecret[1:] + " " + plainSecret[:31]:                          plainSecret[1:] + " " + plainSecret[:31],
		"":                                                                "", "%": "%", `\`: `\`, `\u00`: `\u00`,
	} {
		if got := r.String(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	text := []byte(strings.Repeat(`{"nickname":"\u4e2d\u6587","url":"http:\/\/x%20y"}`, 20))
	if got := r.Bytes(text); &got[0] != &text[0] {
		t.Error("a text without secrets was copied")
	}
	for _, none := range []*Redactor{nil, NewRedactor(), NewRedactor("", "short")} {
		if got := none.String("short " + plainSecret); got != "short "+plainSecret {
			t.Errorf("got %q", got)
		}
	}
}

// Every position and every length of what stands before: the groups that are
// looked at must not miss any.
func TestRedactorEveryPosition(t *testing.T) {
	for _, secrets := range [][]string{{plainSecret}, {plainSecret, plainToken}, {"sixsix", plainToken}, {plainToken}} {
		r := NewRedactor(secrets...)
		for _, secret := range secrets {
			for n := range 200 {
				text := strings.Repeat("=", n) + secret
				if got := r.String(text); got != strings.Repeat("=", n)+redactedText {
					t.Fatalf("after %d characters: %q", n, got)
				}
			}
		}
	}
}

func TestRedactorHeader(t *testing.T) {
	h := http.Header{
		"Location": {"/x?access_token=" + plainToken, "/y"},
		"X-Echo":   {"Basic " + base64.StdEncoding.EncodeToString([]byte("wx1:"+plainSecret))},
		"X-None":   nil,
	}
	NewRedactor(plainSecret, plainToken).Header(h)
	if h["Location"][0] != "/x?access_token=REDACTED" || h["Location"][1] != "/y" || h.Get("X-Echo") == "" || strings.Contains(h.Get("X-Echo"), "MDEy") {
		t.Errorf("got %v", h)
	}
}

func TestRedactShortSecrets(t *testing.T) {
	if got := Redact("a s3 b%2Fc", "s3"); got != "a REDACTED b%2Fc" {
		t.Errorf("got %q", got)
	}
	if got := Redact("a b%2Fc", "b/c"); got != "a REDACTED" {
		t.Errorf("got %q", got)
	}
	if got := Redact("a", ""); got != "a" {
		t.Errorf("got %q", got)
	}
}

// FuzzRedactor puts a secret somewhere: it does not come out, and a text without
// one comes out as it was.
func FuzzRedactor(f *testing.F) {
	f.Add("abcdefgh", "before ", " after", uint8(0))
	f.Add(oddToken, `{"x":"\u`, `0"}`, uint8(3))
	f.Add(plainSecret, "%", "%", uint8(9))
	f.Fuzz(func(t *testing.T, secret, before, after string, dress uint8) {
		for i := range len(secret) {
			if secret[i] <= ' ' || secret[i] >= 0x7f {
				t.Skip("no token")
			}
		}
		if len(secret) < shortestSecret || len(secret) > 500 || len(before)+len(after) > 5_000 {
			t.Skip("of another length")
		}
		r := NewRedactor(secret, plainToken)
		for _, text := range []string{before, after} {
			if !strings.ContainsAny(text, `%\`) && !strings.Contains(text, secret) && len(text) < 8 && r.String(text) != text {
				t.Fatalf("%q became %q", text, r.String(text))
			}
		}
		inJSON, _ := json.Marshal(secret)
		forms := []string{secret, url.QueryEscape(secret), strings.ReplaceAll(string(inJSON[1:len(inJSON)-1]), "/", `\/`), base64.StdEncoding.EncodeToString([]byte(secret))}
		form := forms[int(dress)%len(forms)]
		if strings.ContainsAny(before[max(0, len(before)-5):], `\%`) {
			t.Skip("an escape may reach into the secret")
		}
		if got := r.String(before + form + after); strings.Contains(got, form) && !strings.Contains(redactedText, form) {
			t.Fatalf("%q in %q", form, got)
		}
	})
}

func BenchmarkRedactor(b *testing.B) {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	random := make([]byte, 4096)
	for i := range random {
		random[i] = alphabet[rand.N(len(alphabet))]
	}
	r := NewRedactor(plainSecret, plainToken, plainToken[1:]+"x")
	for name, text := range map[string][]byte{
		"small":   []byte(`{"errcode":0,"errmsg":"ok"}`),
		"JSON":    []byte(strings.Repeat(`{"openid":"oABCDEFG","nickname":"x","subscribe":1},`, 82))[:4096],
		"base64":  random,
		"escapes": []byte(strings.Repeat(`{"url":"http:\/\/x.example\/","nickname":"xxxxxxxxxx"},`, 82))[:4096],
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r.Bytes(text)
			}
		})
	}
}

// However a text is cut, no more of a secret goes on than may be there by chance,
// and what is none goes on at once.
func TestRedactedStream(t *testing.T) {
	r := NewRedactor(plainSecret, plainToken, oddToken)
	for _, secret := range []string{plainSecret, plainToken, oddToken} {
		for name, dress := range dresses(secret) {
			if strings.HasPrefix(name, "base64 1") || strings.HasPrefix(name, "base64 2") || strings.HasPrefix(name, "base64 4") {
				continue // a part of a character may be told
			}
			text := `{"a":"` + dress + `"}`
			for cut := range text {
				s := r.Stream()
				got := string(s.Next([]byte(text[:cut]), false)) + string(s.Next([]byte(text[cut:]), true))
				if strings.Contains(got, dress[len(dress)-min(len(dress)/2, 60):]) || !strings.HasPrefix(got, `{"a":"`) || !strings.HasSuffix(got, `"}`) {
					t.Fatalf("%s of %.10s, cut after %d: %q", name, secret, cut, got)
				}
			}
		}
	}
	for _, tc := range []struct{ first, now string }{
		{"", ""}, {"{}", "{}"}, {"x012", "x012"}, {"x0123", "x"}, {"x" + plainSecret[:31], "x"}, {"a0123%3", "a"}, {`a0123\u00`, "a"}, {"a%3", "a%3"}, {`\`, ""}, {`\\`, `\\`}, {`a\u00e`, "a"}, {`a\u00e9`, `a\u00e9`}, {"%30123", ""},
	} {
		s := r.Stream()
		if got := string(s.Next([]byte(tc.first), false)); got != tc.now {
			t.Errorf("%q: %q goes on, want %q", tc.first, got, tc.now)
		}
		if got := tc.now + string(s.Next([]byte("-"), false)) + string(s.Next(nil, true)); got != tc.first+"-" {
			t.Errorf("%q: %q in all", tc.first, got)
		}
	}
}

// JSON is JSON without the secrets too, into whatever pieces an answer is cut.
func TestRedactedStreamKeepsJSON(t *testing.T) {
	r := NewRedactor(plainSecret, plainToken)
	for _, secret := range []string{plainSecret, plainToken} {
		for _, name := range []string{"plain", "in JSON, all escaped", "in JSON, all escaped, caps", "every character escaped"} {
			text := `{"errcode":40013,"errmsg":"\\\"` + dresses(secret)[name] + `"}`
			for size := 1; size <= 16; size++ {
				var got []byte
				s := r.Stream()
				for piece := range slices.Chunk([]byte(text), size) {
					got = append(got, s.Next(piece, false)...)
				}
				if got = append(got, s.Next(nil, true)...); !json.Valid(got) || strings.Contains(string(got), dresses(secret)[name][24:]) {
					t.Errorf("%s of %.10s, in pieces of %d: %q", name, secret, size, got)
				}
			}
		}
	}
}

// FuzzRedactedStream: a text without secrets goes on as it is, however it is cut.
func FuzzRedactedStream(f *testing.F) {
	f.Add([]byte("0123456789abc%3"), []byte{1, 2, 3})
	f.Add([]byte(`{"\u0030123":"x"}`), []byte{7})
	f.Fuzz(func(t *testing.T, text, sizes []byte) {
		if len(text) > 2_000 {
			t.Skip("too long")
		}
		r := NewRedactor(plainSecret, oddToken)
		if string(r.Bytes(text)) != string(text) {
			t.Skip("there is a secret in it")
		}
		var got []byte
		s, rest := r.Stream(), text
		for _, size := range sizes {
			n := min(int(size), len(rest))
			got = append(got, s.Next(rest[:n], false)...)
			rest = rest[n:]
		}
		if got = append(got, s.Next(rest, true)...); string(got) != string(text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
