package apisecurity

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	testAppID  = "wxba6223c06417af7b"
	testSerial = "fa05fe1e5bcc79b81ad5ad4b58acf787"
	testKey    = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=" // of the guide's sample
	testPath   = "/wxa/getuserriskrank"
)

var testNow = time.Unix(1635927954, 0)

func generate(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func certificate(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: testNow.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return toPEM("CERTIFICATE", der)
}

// platform is WeChat's side.
type platform struct {
	*Keys
	key, next *rsa.PrivateKey // the certificate's, and the one's that follows
	signer    *rsa.PublicKey
}

// newPlatform returns an account's keys, and WeChat's side.
func newPlatform(t testing.TB) *platform {
	t.Helper()
	p := &platform{key: generate(t), next: generate(t)}
	own := generate(t)
	p.signer = &own.PublicKey
	var err error
	p.Keys, err = NewKeys(Config{
		AppID:     testAppID,
		KeySerial: testSerial,
		Key:       testKey,
		SignKey:   toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(own)),
		Verify:    map[string]string{"number1": certificate(t, p.key)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *platform) read(t testing.TB, body []byte, h http.Header) []byte {
	t.Helper()
	signature, err := base64.StdEncoding.DecodeString(h.Get("Wechatmp-Signature"))
	if err != nil {
		t.Fatal(err)
	}
	ts := h.Get("Wechatmp-TimeStamp")
	sum := sha256.Sum256([]byte("https://api.weixin.qq.com" + testPath + "\n" + testAppID + "\n" + ts + "\n" + string(body)))
	// The salt's length is not taken from the signature.
	if err := rsa.VerifyPSS(p.signer, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: 32}); err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	text, err := p.decrypt(e, testPath, ts)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// answer returns an answer of WeChat's.
func (p *platform) answer(t testing.TB, at time.Time, number string, key *rsa.PrivateKey, text string) ([]byte, http.Header) {
	t.Helper()
	iv := make([]byte, ivSize)
	rand.Read(iv)
	ts := strconv.FormatInt(at.Unix(), 10)
	body := p.encrypt(iv, []byte(text), testPath, ts)
	h := make(http.Header)
	h.Set("Wechatmp-Appid", testAppID)
	h.Set("Wechatmp-TimeStamp", ts)
	h.Set("Wechatmp-Serial", number)
	h.Set("Wechatmp-Signature", p.signature(t, key, ts, body))
	return body, h
}

func (p *platform) signature(t testing.TB, key *rsa.PrivateKey, ts string, body []byte) string {
	t.Helper()
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, p.digest(testPath, ts, body), &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

func inner(at time.Time, fields string) string {
	return fmt.Sprintf(`{"_n":"bm9uY2U=","_appid":"%s","_timestamp":%d%s}`, testAppID, at.Unix(), fields)
}

// The guide's sample request.
func TestVector(t *testing.T) {
	k := newPlatform(t)
	iv, err := base64.StdEncoding.DecodeString("fmW/zNxXlytUZBgj")
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"_n":"o89QaPVsRu1yppIZzvSZc4","_appid":"wxba6223c06417af7b","_timestamp":1635927954,"appid":"wxba6223c06417af7b","openid":"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM","scene":0,"client_ip":"127.0.0.1"}`
	body := k.encrypt(iv, []byte(text), testPath, "1635927954")
	const want = `{"iv":"fmW/zNxXlytUZBgj","data":"0IDVdrPtSPF/Oe2C`
	if !bytes.HasPrefix(body, []byte(want)) || !bytes.HasSuffix(body, []byte(`","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`)) || len(body) != 324 {
		t.Errorf("got %d bytes: %s", len(body), body)
	}
}

func TestSeal(t *testing.T) {
	p := newPlatform(t)
	for _, c := range []struct {
		name, query, body string
		want              string // without what is added
	}{
		{"empty", "", "", ``},
		{"white space", "", " \n", ``},
		{"empty object", "", "{}", ``},
		{"as it is", "", `{"b":1e2, "a" : 12345678901234567890.10 ,"b":null,"\u00e9":"\u4f60<&>","o":{"z":[1, 2]}}`, `"b":1e2,"a":12345678901234567890.10,"b":null,"\u00e9":"\u4f60<&>","o":{"z":[1, 2]}`},
		{"byte order mark", "", "\ufeff{\"a\":1}", `"a":1`},
		{"query", "access_token=T&a=%E4%BD%A0+%3C&b=&c&access%5Ftoken=U", "", `"a":"你 <","b":"","c":""`},
		{"query and body", "a=2&b=3&b=4", `{"a":1}`, `"a":1,"b":"3"`},
		{"names that are added", "_appid=x", `{"_n":1,"a":1,"_timestamp":5,"_appid":"wx2"}`, `"a":1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, h, err := p.Seal(testNow, testPath, c.query, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if h.Get("Content-Type") != "application/json" || h.Get("Wechatmp-Appid") != testAppID || h.Get("Wechatmp-Timestamp") != "1635927954" || len(h) != 4 {
				t.Errorf("the header is %v", h)
			}
			text := string(p.read(t, body, h))
			var added struct {
				Nonce string `json:"_n"`
			}
			if err := json.Unmarshal([]byte(text), &added); err != nil {
				t.Fatal(err)
			}
			want := "{" + c.want
			if c.want != "" {
				want += ","
			}
			want += fmt.Sprintf(`"_n":"%s","_appid":"%s","_timestamp":1635927954}`, added.Nonce, testAppID)
			if text != want {
				t.Errorf("got  %s\nwant %s", text, want)
			}
			if nonce, err := base64.StdEncoding.DecodeString(added.Nonce); err != nil || len(nonce) < 16 || len(nonce) > 32 {
				t.Errorf("the nonce is %q", added.Nonce)
			}
			again, _, err := p.Seal(testNow, testPath, c.query, []byte(c.body))
			if err != nil || bytes.Equal(again, body) {
				t.Errorf("the next attempt is the same: %v", err)
			}
		})
	}
}

func TestSealRefuses(t *testing.T) {
	p := newPlatform(t)
	for _, body := range []string{`[]`, `"x"`, `1`, `{`, `{"a"}`, `{"a":1}x`, `{"a":1}{}`, `{"a":01}`, `{a:1}`, `{"a":1,}`, "a=1", "--boundary"} {
		if _, _, err := p.Seal(testNow, testPath, "", []byte(body)); !errors.Is(err, ErrNotObject) {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, _, err := p.Seal(testNow, testPath, "a=%zz", nil); !errors.Is(err, ErrQuery) {
		t.Errorf("a query that is none: %v", err)
	}
}

func TestOpen(t *testing.T) {
	p := newPlatform(t)
	for _, c := range []struct{ fields, want string }{
		{`,"errcode":0,"risk_rank":12345678901234567890.0,"a":1,"a":2`, `{"errcode":0,"risk_rank":12345678901234567890.0,"a":1,"a":2}`},
		{``, `{}`},
		{`,"o":{"_n":1}`, `{"o":{"_n":1}}`},
	} {
		body, h := p.answer(t, testNow, "number1", p.key, inner(testNow, c.fields))
		got, err := p.Open(testNow, testPath, h, body)
		if err != nil || string(got.Body) != c.want || got.Deprecated != "" {
			t.Errorf("got %s (%s), %v, want %s", got.Body, got.Deprecated, err, c.want)
		}
	}
}

// What is not encrypted passes where it is an error, or no object.
func TestOpenPlain(t *testing.T) {
	p := newPlatform(t)
	for body, passes := range map[string]bool{
		`{"errcode":40001,"errmsg":"x"}`: true,
		` {"errcode":"40001"}`:           true,
		"\x89PNG\r\n":                    true,
		``:                               true,
		`[1]`:                            true,
		`{"risk_rank":0}`:                false,
		`{"errcode":0,"risk_rank":0}`:    false,
		`{"errcode":"0"}`:                false,
		`{"errcode":null}`:               false,
		`{"a":{"errcode":1}}`:            false,
		`{"iv":"a","data":"b"}`:          false,
		`{"iv":1,"data":2,"authtag":3}`:  false,
		"\ufeff{\"a\":1}":                false,
	} {
		got, err := p.Open(testNow, testPath, nil, []byte(body))
		if passes && (err != nil || string(got.Body) != body) || !passes && (!errors.Is(err, ErrPlainAnswer) || got.Body != nil) {
			t.Errorf("%s: %s, %v", body, got.Body, err)
		}
		p.plainAnswers = true
		if got, err = p.Open(testNow, testPath, nil, []byte(body)); err != nil || string(got.Body) != body {
			t.Errorf("%s with plain_answers: %s, %v", body, got.Body, err)
		}
		p.plainAnswers = false
	}
}

func TestOpenRefuses(t *testing.T) {
	p := newPlatform(t)
	p.plainAnswers = true // makes no difference here
	const secret = "12.3456"
	fields := `,"secret":` + secret
	text := inner(testNow, fields)
	for _, c := range []struct {
		name   string
		text   string // what is encrypted, where it is another
		change func(body []byte, h http.Header) []byte
		want   string
	}{
		{"body", "", func(body []byte, _ http.Header) []byte {
			return bytes.Replace(body, []byte(`{"iv"`), []byte(`{ "iv"`), 1)
		}, "signature"},
		{"no signature", "", func(body []byte, h http.Header) []byte { h.Del("Wechatmp-Signature"); return body }, "signature"},
		{"signature that is none", "", func(body []byte, h http.Header) []byte { h.Set("Wechatmp-Signature", "!"); return body }, "signature"},
		{"another's signature", "", func(body []byte, h http.Header) []byte {
			h.Set("Wechatmp-Signature", p.signature(t, p.next, h.Get("Wechatmp-Timestamp"), body))
			return body
		}, "signature"},
		{"no number", "", func(body []byte, h http.Header) []byte { h.Del("Wechatmp-Serial"); return body }, "not configured"},
		{"another number", "", func(body []byte, h http.Header) []byte { h.Set("Wechatmp-Serial", "number2"); return body }, `verify "number2"`},
		{"another's appid", "", func(body []byte, h http.Header) []byte { h.Set("Wechatmp-Appid", "wx2"); return body }, "another appid"},
		{"another time", "", func(body []byte, h http.Header) []byte { h.Set("Wechatmp-Timestamp", "1635927955"); return body }, "signature"},
		{"_appid of another", strings.Replace(text, testAppID, "wx2", 1), nil, "another appid"},
		{"_appid of another too", inner(testNow, `,"_appid":"wx2"`), nil, "another appid"},
		{"no _appid", `{"_timestamp":1635927954}`, nil, "whom it is for"},
		{"no _timestamp", `{"_appid":"` + testAppID + `"}`, nil, "whom it is for"},
		{"_timestamp of another time", inner(testNow.Add(time.Second), ""), nil, "another time"},
		{"no object", `[` + secret + `]`, nil, "no JSON object"},
		{"signed, but not encrypted with the key", "", func(_ []byte, h http.Header) []byte {
			body := []byte(`{"iv":"fmW/zNxXlytUZBgj","data":"AAAA","authtag":"5qeM/2vZv+6KtScN94IpMg=="}`)
			h.Set("Wechatmp-Signature", p.signature(t, p.key, h.Get("Wechatmp-Timestamp"), body))
			return body
		}, "cannot be decrypted"},
		{"signed, but of another form", "", func(_ []byte, h http.Header) []byte {
			body := []byte(`{"iv":"AAAA","data":"AAAA","authtag":"AAAA"}`)
			h.Set("Wechatmp-Signature", p.signature(t, p.key, h.Get("Wechatmp-Timestamp"), body))
			return body
		}, "AES256_GCM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.text == "" {
				c.text = text
			}
			body, h := p.answer(t, testNow, "number1", p.key, c.text)
			if c.change != nil {
				body = c.change(body, h)
			}
			got, err := p.Open(testNow, testPath, h, body)
			openErr, ok := errors.AsType[*OpenError](err)
			if !ok || !strings.Contains(openErr.Reason, c.want) {
				t.Fatalf("got %s, %v, want %q", got.Body, err, c.want)
			}
			for _, hidden := range []string{secret, h.Get("Wechatmp-Signature"), testKey} {
				if hidden != "" && strings.Contains(err.Error(), hidden) {
					t.Errorf("the error shows too much: %v", err)
				}
			}
		})
	}
	body, h := p.answer(t, testNow, "number1", p.key, text)
	if _, err := p.Open(testNow, "/wxa/other", h, body); err == nil {
		t.Error("an answer to another path was taken")
	}
}

// Only an answer that is late is refused, not one from a clock that is ahead.
func TestOpenTime(t *testing.T) {
	p := newPlatform(t)
	for late, taken := range map[time.Duration]bool{0: true, 300 * time.Second: true, 301 * time.Second: false, -time.Hour: true} {
		body, h := p.answer(t, testNow, "number1", p.key, inner(testNow, ""))
		if _, err := p.Open(testNow.Add(late), testPath, h, body); (err == nil) != taken {
			t.Errorf("%s late: %v", late, err)
		}
	}
	for _, ts := range []string{"", "x", "-9223372036854775808", "9223372036854775808"} {
		if err := p.checkHeader(testNow, http.Header{"Wechatmp-Appid": {testAppID}, "Wechatmp-Timestamp": {ts}}); err == nil {
			t.Errorf("time %q was taken", ts)
		}
	}
}

// While the platform's certificate changes, either is good.
func TestOpenCertificateChange(t *testing.T) {
	p := newPlatform(t)
	body, h := p.answer(t, testNow, "number2", p.next, inner(testNow, ""))
	h.Set("Wechatmp-Serial-Deprecated", "number1")
	h.Set("Wechatmp-Signature-Deprecated", p.signature(t, p.key, h.Get("Wechatmp-Timestamp"), body))
	if got, err := p.Open(testNow, testPath, h, body); err != nil || got.Deprecated != "number1" {
		t.Errorf("the outgoing one: %s, %v", got.Deprecated, err)
	}
	p.verifiers["number2"] = &p.next.PublicKey
	if got, err := p.Open(testNow, testPath, h, body); err != nil || got.Deprecated != "" {
		t.Errorf("both: %s, %v", got.Deprecated, err)
	}
	// That the outgoing one's signature is right does not make up for the other's.
	h.Set("Wechatmp-Signature", h.Get("Wechatmp-Signature-Deprecated"))
	if _, err := p.Open(testNow, testPath, h, body); err == nil {
		t.Error("a wrong signature was taken")
	}
}

// FuzzObject: what is taken for a JSON object is one, what is not is none, and
// nothing but white space between members is lost on the way.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[{"c":"}"}]}`, `{"a" : 1e400 , "a":"\u00e9"}`, "{\"\xff\":1}", `{"a":1}}`, `[{}]`, "\ufeff{}", `{"a":tru}`, `{,}`, `{"\ud800":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := parseObject(text)
		trimmed := bytes.TrimPrefix(text, byteOrderMark)
		var m map[string]json.RawMessage
		if (err == nil) != (json.Unmarshal(trimmed, &m) == nil && m != nil) {
			t.Fatalf("%q is taken for %v", text, err)
		}
		if err != nil {
			return
		}
		again := o.append(nil)
		var a, b bytes.Buffer
		if json.Compact(&a, trimmed) != nil || json.Compact(&b, again) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("%q became %q", text, again)
		}
		for _, member := range o {
			if !o.has(member.name) || m[member.name] == nil {
				t.Fatalf("%q has no %q", text, member.name)
			}
		}
	})
}

// FuzzOpen: nothing that anybody sends is taken for an answer of WeChat's.
func FuzzOpen(f *testing.F) {
	p := newPlatform(f)
	body, h := p.answer(f, testNow, "number1", p.key, inner(testNow, ""))
	f.Add(body[:len(body)-1], h.Get("Wechatmp-Timestamp"), "number1", h.Get("Wechatmp-Signature"))
	f.Add([]byte(`{"iv":"","data":"","authtag":""}`), "", "", "")
	f.Fuzz(func(t *testing.T, body []byte, timestamp, number, signature string) {
		h := http.Header{"Wechatmp-Appid": {testAppID}, "Wechatmp-Timestamp": {timestamp}, "Wechatmp-Serial": {number}, "Wechatmp-Signature": {signature}}
		if got, err := p.Open(testNow, testPath, h, body); err == nil && !bytes.Equal(got.Body, body) {
			t.Errorf("%q was taken for %q", body, got.Body)
		}
	})
}
