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
		{"garbage after it", "{\"errcode\":40001,\x00\xff", 40001, ScanFound},

		{"cut in the digits", `{"errcode":40001`, 0, ScanMore},
		{"cut before the digits", `{"errcode": `, 0, ScanMore},
		{"cut after the sign", `{"errcode":-`, 0, ScanMore},
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
		{"byte order mark", "\xef\xbb\xbf{\"errcode\":40001}", 0, ScanNone},
		{"nested", `{"data":{"errcode":40001}}`, 0, ScanNone},
		{"in a string", `{"data":"{\"errcode\":40001}"}`, 0, ScanNone},
		{"in a string with an escaped backslash", `{"data":"\\","x":"\"errcode\":40001"}`, 0, ScanNone},
		{"other case", `{"Errcode":40001}`, 0, ScanNone},
		{"string", `{"errcode":"40001"}`, 0, ScanNone},
		{"null", `{"errcode":null}`, 0, ScanNone},
		{"fraction", `{"errcode":40001.0}`, 0, ScanNone},
		{"exponent", `{"errcode":4e4}`, 0, ScanNone},
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
		`{"err\u0063ode":1,"errcode":2}`, "{\"a\\\"errcode\":1}", `[]`, `{}`, "",
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
		if len(data) == 0 || data[0] != '{' || !json.Valid(data) {
			return
		}
		want, wantResult := errcodeByDecoder(t, data)
		if code != want || result != wantResult {
			t.Fatalf("ScanErrcode(%q) = %d, %d; encoding/json says %d, %d", data, code, result, want, wantResult)
		}
	})
}

// errcodeByDecoder returns what ScanErrcode has to say about a valid object.
func errcodeByDecoder(t *testing.T, object []byte) (int, ScanResult) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		start := dec.InputOffset()
		if _, err := dec.Token(); err != nil {
			t.Fatal(err)
		}
		key := bytes.TrimLeft(object[start:dec.InputOffset()], ", \t\r\n")
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
		// A name spelled with escapes is none that WeChat sends.
		if string(key) != `"errcode"` {
			continue
		}
		if digits := bytes.TrimPrefix(value, []byte("-")); len(digits) > 9 {
			return 0, ScanNone
		}
		n, err := strconv.Atoi(string(value))
		if err != nil {
			return 0, ScanNone
		}
		return n, ScanFound
	}
	return 0, ScanNone
}
