package wechat

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

func TestScanErrcode(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, tc := range []struct {
		name   string
		prefix string
		want   int
		result ScanResult
	}{
		{"nothing yet", "", 0, ScanMore},
		{"token error", `{"errcode":40001,"errmsg":"invalid credential"}`, 40001, ScanFound},
		{"success", `{"errcode":0,"errmsg":"ok"}`, 0, ScanFound},
		{"negative", `{"errcode":-1,"errmsg":"system error"}`, -1, ScanFound},
		{"negative zero", `{"errcode":-0}`, 0, ScanFound},
		{"errmsg first", `{"errmsg":"access_token expired","errcode":42001}`, 42001, ScanFound},
		{"last of many", `{"a":1,"b":[],"c":{},"d":"x","e":null,"errcode":40014}`, 40014, ScanFound},
		{"white space everywhere", "{ \"errmsg\"\t:\r\n\"x\" , \"errcode\" : \n40001 \n}", 40001, ScanFound},
		{"cut after the digits", `{"errcode":40001,`, 40001, ScanFound},
		{"the first of two", `{"errcode":0,"errcode":40001}`, 0, ScanFound},
		{"nine digits", `{"errcode":123456789}`, 123456789, ScanFound},
		{"byte order mark", "\xef\xbb\xbf{\"errcode\":40001}", 40001, ScanFound},
		{"byte order mark and line breaks", "\xef\xbb\xbf\r\n\t {\"errcode\":40001}", 40001, ScanFound},
		{"line breaks first", "\r\n\n {\"errcode\":42001}", 42001, ScanFound},
		{"text", `{"errcode":"40001"}`, 40001, ScanFound},
		{"negative text", `{"errcode":"-1"}`, -1, ScanFound},
		{"text with a fraction", `{"errcode":"40001.0"}`, 40001, ScanFound},
		{"text of zero", `{"errcode":"0","errmsg":"ok"}`, 0, ScanFound},
		{"integer with a fraction", `{"errcode":40001.0}`, 40001, ScanFound},
		{"integer with an exponent", `{"errcode":4.0001e4}`, 40001, ScanFound},
		{"capital exponent", `{"errcode":4.0001E+04}`, 40001, ScanFound},
		{"negative with a fraction", `{"errcode":-1.0}`, -1, ScanFound},
		{"escapes in the name", `{"\u0065rr\u0063ode":40001}`, 40001, ScanFound},
		{"every character escaped", `{"\u0065\u0072\u0072\u0063\u006f\u0064\u0065":40001}`, 40001, ScanFound},
		{"in base_resp", `{"base_resp":{"errcode":42001,"errmsg":"x"}}`, 42001, ScanFound},
		{"in base_resp, behind", `{"resp_msg":{},"base_resp" : {"errmsg":"x", "errcode" : "40014" }}`, 40014, ScanFound},
		{"behind an empty base_resp", `{"base_resp":{},"errcode":40001}`, 40001, ScanFound},
		{"behind a base_resp without", `{"base_resp":{"ret":{"a":1}},"errcode":40001}`, 40001, ScanFound},
		{"behind a base_resp that is null", `{"base_resp":null,"errcode":40001}`, 40001, ScanFound},
		{"the first of base_resp and another", `{"base_resp":{"errcode":0},"errcode":40001}`, 0, ScanFound},
		{"garbage after it", "{\"errcode\":40001,\x00\xff", 40001, ScanFound},

		{"cut in the digits", `{"errcode":40001`, 0, ScanMore},
		{"cut before the digits", `{"errcode": `, 0, ScanMore},
		{"cut after the sign", `{"errcode":-`, 0, ScanMore},
		{"cut in a byte order mark", "\xef\xbb", 0, ScanMore},
		{"cut after a byte order mark", "\xef\xbb\xbf", 0, ScanMore},
		{"cut after a line break", "\n", 0, ScanMore},
		{"cut in text", `{"errcode":"40001`, 0, ScanMore},
		{"cut after a point", `{"errcode":40001.`, 0, ScanMore},
		{"cut in base_resp", `{"base_resp":{"errco`, 0, ScanMore},
		{"cut after base_resp", `{"base_resp":`, 0, ScanMore},
		{"cut in the name", `{"errc`, 0, ScanMore},
		{"cut after the brace", `{`, 0, ScanMore},
		{"cut in errmsg", `{"errmsg":"invalid \`, 0, ScanMore},
		{"cut after an escaped quote", `{"errmsg":"\"`, 0, ScanMore},
		{"cut in an array", `{"errmsg":[{"errcode":1}`, 0, ScanMore},

		{"cut behind another member", `{"total":1,"errc`, 0, ScanUnlikely},
		{"cut in another member's value", `{"total":1`, 0, ScanUnlikely},
		{"cut in a long value", `{"data":"` + long, 0, ScanUnlikely},
		{"another member that begins alike", `{"errcodes":1`, 0, ScanUnlikely},

		{"empty object", `{}`, 0, ScanNone},
		{"no errcode", `{"access_token":"x","expires_in":7200}`, 0, ScanNone},
		{"binary", "\xff\xd8\xff\xe0", 0, ScanNone},
		{"HTML", "<html>", 0, ScanNone},
		{"array", `[{"errcode":40001}]`, 0, ScanNone},
		{"a byte order mark alone in another place", "{\xef\xbb\xbf\"errcode\":40001}", 0, ScanNone},
		{"two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf{\"errcode\":40001}", 0, ScanNone},
		{"nested", `{"data":{"errcode":40001}}`, 0, ScanNone},
		{"in a string", `{"data":"{\"errcode\":40001}"}`, 0, ScanNone},
		{"in a string with an escaped backslash", `{"data":"\\","x":"\"errcode\":40001"}`, 0, ScanNone},
		{"other case", `{"Errcode":40001}`, 0, ScanNone},
		{"text that is no number", `{"errcode":"ok"}`, 0, ScanNone},
		{"text with a number in it", `{"errcode":"40001 "}`, 0, ScanNone},
		{"empty text", `{"errcode":""}`, 0, ScanNone},
		{"text without end", `{"errcode":"4000100000000000000000000000000000000000`, 0, ScanNone},
		{"digits without end", `{"errcode":4000100000000000000000000000000000000000`, 0, ScanNone},
		{"true", `{"errcode":true}`, 0, ScanNone},
		{"an object", `{"errcode":{"errcode":40001}}`, 0, ScanNone},
		{"null as text", `{"errcode":"null"}`, 0, ScanNone},
		{"nested in base_resp", `{"base_resp":{"a":{"errcode":40001}}}`, 0, ScanNone},
		{"base_resp within another", `{"a":{"base_resp":{"errcode":40001}}}`, 0, ScanNone},
		{"base_resp within base_resp", `{"base_resp":{"base_resp":{"errcode":40001}}}`, 0, ScanNone},
		{"base_resp as text", `{"base_resp":"{\"errcode\":40001}"}`, 0, ScanNone},
		{"base_resp broken", `{"base_resp":{"a" 1},"errcode":40001}`, 0, ScanNone},
		{"null", `{"errcode":null}`, 0, ScanNone},
		{"fraction", `{"errcode":40001.5}`, 0, ScanNone},
		{"no fraction", `{"errcode":40001.}`, 0, ScanNone},
		{"no exponent", `{"errcode":4e}`, 0, ScanNone},
		{"hexadecimal", `{"errcode":0x9c41}`, 0, ScanNone},
		{"underscore", `{"errcode":40_001}`, 0, ScanNone},
		{"infinite", `{"errcode":1e400}`, 0, ScanNone},
		{"a small fraction", `{"errcode":4e-4}`, 0, ScanNone},
		{"ten digits with an exponent", `{"errcode":1e9}`, 0, ScanNone},
		{"ten digits", `{"errcode":1234567890}`, 0, ScanNone},
		{"no digits", `{"errcode":,}`, 0, ScanNone},
		{"sign alone", `{"errcode":-,}`, 0, ScanNone},
		{"plus sign", `{"errcode":+1}`, 0, ScanNone},
		{"no colon", `{"errcode" 40001}`, 0, ScanNone},
		{"no quotes", `{errcode:40001}`, 0, ScanNone},
		{"no comma", `{"a":1 "errcode":40001}`, 0, ScanNone},
		{"comma first", `{,"errcode":40001}`, 0, ScanNone},
		{"no value", `{"a":,"errcode":40001}`, 0, ScanNone},
		{"closed too early", `{"a":1],"errcode":40001}`, 0, ScanNone},
		{"after the end", `{"a":1}{"errcode":40001}`, 0, ScanNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			errcode, result := ScanErrcode([]byte(tc.prefix))
			if errcode != tc.want || result != tc.result {
				t.Errorf("ScanErrcode(%.60q) = %d, %d; want %d, %d", tc.prefix, errcode, result, tc.want, tc.result)
			}
		})
	}
}

// What has been answered for a prefix must hold for every continuation, or else
// it would matter how the network cuts an answer.
func FuzzScanErrcode(f *testing.F) {
	for _, seed := range []string{
		`{"errcode":40001,"errmsg":"invalid credential rid: 6aac0063"}`,
		`{"errmsg":"a \"quoted\" \\ word","errcode":42001}`,
		`{"data":{"errcode":1,"list":[{"a":"]}"},[]]},"errcode":-1}`,
		`{"total":2,"openid":["a","b"],"next":null,"ok":true,"n":-1.5e+3}`,
		`{ "errcode" : 40014 }`,
		`{"errcode":"40001"}`, `{"errcode":12345678901}`, `{"errcode":1e3}`, `{"errcode":0`,
		`{"err\u0063ode":1,"errcode":2}`, "\ufeff\n{\"errcode\":40001.0}", `{"errcode":"4.0001e4"}`,
		`{"base_resp":{"errcode":40001}}`, `{"base_resp":[],"errcode":1}`, `{"base_resp":{"a":{}},"base_resp":{"errcode":-1e0}}`,
		"{\"a\\\"errcode\":1}", `[]`, `{}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<10 {
			t.Skip("all prefixes of so many bytes take too long")
		}
		code, result := ScanErrcode(data)
		if result != ScanFound && code != 0 {
			t.Fatalf("errcode %d without ScanFound", code)
		}
		before := ScanMore
		for n := range data {
			prefixCode, prefixResult := ScanErrcode(data[:n])
			if prefixResult < before {
				t.Fatalf("%q: result %d after %d", data[:n], prefixResult, before)
			}
			before = prefixResult
			if prefixResult >= ScanFound && (prefixResult != result || prefixCode != code) {
				t.Fatalf("%q: %d, %d; but whole: %d, %d", data[:n], prefixCode, prefixResult, code, result)
			}
		}
		object := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
		if len(object) == 0 || object[0] != '{' || !json.Valid(object) {
			return
		}
		want, wantResult, _ := errcodeByDecoder(t, object, false)
		if code != want || result != wantResult {
			t.Fatalf("ScanErrcode(%q) = %d, %d; encoding/json says %d, %d", data, code, result, want, wantResult)
		}
	})
}

// errcodeByDecoder returns what ScanErrcode has to say about a valid object, and
// whether there is an errcode at all.
func errcodeByDecoder(t *testing.T, object []byte, nested bool) (int, ScanResult, bool) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		switch {
		case key == "base_resp" && !nested && value[0] == '{':
			if n, result, ok := errcodeByDecoder(t, value, true); ok {
				return n, result, true
			}
		case key == "errcode":
			n, result := errcodeOf(value)
			return n, result, true
		}
	}
	return 0, ScanNone, false
}

// errcodeOf returns what ScanErrcode has to say about an errcode's value.
func errcodeOf(value []byte) (int, ScanResult) {
	text := string(value)
	if value[0] == '"' {
		text = text[1 : len(text)-1] // an errcode has no escapes
	}
	if len(text) > maxErrcodeLength || strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, ScanNone
	}
	digits := strings.TrimPrefix(text, "-")
	if n, err := strconv.Atoi(digits); err == nil && len(digits) <= 9 && strings.Trim(digits, "0123456789") == "" {
		if len(digits) < len(text) {
			n = -n
		}
		return n, ScanFound
	}
	var f float64
	if json.Unmarshal([]byte(text), &f) != nil || f != float64(int64(f)) || f > 999_999_999 || f < -999_999_999 {
		return 0, ScanNone
	}
	return int(f), ScanFound
}

func BenchmarkScanErrcode(b *testing.B) {
	for name, answer := range map[string]string{
		"error": `{"errcode":0,"errmsg":"ok"}`,
		"list":  `{"total":2,"count":2,"data":{"openid":["` + strings.Repeat("o", 28) + `","` + strings.Repeat("p", 28) + `"]},"next_openid":"` + strings.Repeat("p", 28) + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ScanErrcode([]byte(answer))
			}
		})
	}
}
