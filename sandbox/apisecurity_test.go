package sandbox_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-weixin/caddy-weixin/sandbox"
)

const (
	securitySN  = "fa05fe1e5bcc79b81ad5ad4b58acf787"
	securityKey = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY="
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func publicPEM() string {
	der, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func securityConfig() sandbox.Config {
	return sandbox.Config{Accounts: []sandbox.Account{
		{AppID: appID, AppSecret: secret, APISecurity: &sandbox.APISecurity{
			Keys:      []sandbox.SecurityKey{{SN: "another", Key: base64.StdEncoding.EncodeToString(make([]byte, 32))}, {SN: securitySN, Key: securityKey}},
			PublicKey: publicPEM(),
		}},
		{AppID: "wx2", AppSecret: "secret2"},
	}}
}

// secured is a request of API security, with what a test wants wrong in it.
type secured struct {
	path  string
	appID string
	at    int64
	inner map[string]any // instead of the right ones
	sn    string
	alter func(*http.Request)
	body  func([]byte) []byte
}

func aead() cipher.AEAD {
	key, _ := base64.StdEncoding.DecodeString(securityKey)
	block, _ := aes.NewCipher(key)
	gcm, _ := cipher.NewGCM(block)
	return gcm
}

func (ts tester) secured(token, body string, q secured) answer {
	ts.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		ts.t.Fatal(err)
	}
	if q.at == 0 {
		q.at = time.Now().Unix()
	}
	if q.appID == "" {
		q.appID = appID
	}
	if q.sn == "" {
		q.sn = securitySN
	}
	fields["_n"], fields["_appid"], fields["_timestamp"] = "bm9uY2U=", q.appID, q.at
	maps.Copy(fields, q.inner)
	text, _ := json.Marshal(fields)
	url := "https://api.weixin.qq.com" + q.path
	iv := []byte("123456789012")
	data := aead().Seal(nil, iv, text, fmt.Appendf(nil, "%s|%s|%d|%s", url, q.appID, q.at, q.sn))
	b64 := base64.StdEncoding.EncodeToString
	sealed, _ := json.Marshal(map[string]string{"iv": b64(iv), "data": b64(data[:len(data)-16]), "authtag": b64(data[len(data)-16:])})
	if q.body != nil {
		sealed = q.body(sealed)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s", url, q.appID, q.at, sealed))
	signature, err := rsa.SignPSS(rand.Reader, signingKey(), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		ts.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, q.path+"?access_token="+token, bytes.NewReader(sealed))
	r.Header.Set("Wechatmp-Appid", q.appID)
	r.Header.Set("Wechatmp-TimeStamp", strconv.FormatInt(q.at, 10))
	r.Header.Set("Wechatmp-Signature", b64(signature))
	if q.alter != nil {
		q.alter(r)
	}
	return ts.do(r)
}

// unsealed verifies and decrypts an answer.
func (a answer) unsealed(path string, certificate []byte, serial, signature string) map[string]any {
	a.t.Helper()
	block, _ := pem.Decode(certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	at := a.Header().Get("Wechatmp-Timestamp")
	url := "https://api.weixin.qq.com" + path
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s", url, appID, at, a.Body))
	sig, _ := base64.StdEncoding.DecodeString(a.Header().Get(signature))
	if err := rsa.VerifyPSS(cert.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: 32}); err != nil || a.Header().Get("Wechatmp-Appid") != appID || serial == "" {
		a.t.Errorf("%v: %v", a.Header(), err)
	}
	var e struct{ IV, Data, AuthTag []byte }
	decode(a.t, a, &e)
	text, err := aead().Open(nil, e.IV, append(e.Data, e.AuthTag...), fmt.Appendf(nil, "%s|%s|%s|%s", url, appID, at, securitySN))
	if err != nil {
		a.t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		a.t.Fatalf("%s: %v", text, err)
	}
	if fields["_appid"] != appID || fmt.Sprintf("%.0f", fields["_timestamp"]) != at || fields["_n"] == "" {
		a.t.Errorf("%s", text)
	}
	return fields
}

const riskPath = "/wxa/getuserriskrank"

var riskBody = `{"appid":"` + appID + `","openid":"` + openID + `","scene":0,"client_ip":"127.0.0.1"}`

func TestAPISecurity(t *testing.T) {
	ts := newTester(t, securityConfig())
	token := ts.token()
	certificate := ts.get("/sandbox/certificate")
	number := certificate.Header().Get("Wechatmp-Serial")

	a := ts.secured(token, riskBody, secured{path: riskPath})
	if a.Header().Get("Wechatmp-Serial") != number || number == "" {
		t.Errorf("%v", a.Header())
	}
	fields := a.unsealed(riskPath, certificate.Body.Bytes(), number, "Wechatmp-Signature")
	if fields["errcode"] != 0.0 || fields["unoin_id"] != 2258658297.0 {
		t.Errorf("%v", fields)
	}
	// A message is read back as it was meant.
	a = ts.secured(token, `{"touser":"`+openID+`","msgtype":"text","text":{"content":"hi"}}`, secured{path: "/cgi-bin/message/custom/send"})
	a.unsealed("/cgi-bin/message/custom/send", certificate.Body.Bytes(), number, "Wechatmp-Signature")
	if sent := ts.get("/sandbox/messages").Body.String(); !strings.Contains(sent, `"content":"hi"`) || strings.Contains(sent, "_appid") {
		t.Errorf("%s", sent)
	}
	// Errors are plain, and so is what was asked in plain; a picture too.
	ts.secured(token, `{}`, secured{path: riskPath}).want(40013)
	ts.secured("x", riskBody, secured{path: riskPath}).want(40014)
	ts.post(riskPath+"?access_token="+token, riskBody).want(0)
	if a := ts.secured(token, `{"scene":"a"}`, secured{path: "/wxa/getwxacodeunlimit"}); a.Header().Get("Content-Type") != "image/jpeg" {
		t.Errorf("%v", a.Header())
	}

	next := ts.post("/sandbox/certificate/rotate", "")
	if next.text("deprecated") != number || next.text("number") == number {
		t.Errorf("%s", next.Body)
	}
	a = ts.secured(token, riskBody, secured{path: riskPath})
	a.unsealed(riskPath, certificate.Body.Bytes(), a.Header().Get("Wechatmp-Serial-Deprecated"), "Wechatmp-Signature-Deprecated")
	a.unsealed(riskPath, ts.get("/sandbox/certificate").Body.Bytes(), next.text("number"), "Wechatmp-Signature")
	ts.post("/sandbox/certificate/rotate?deprecated=false", "")
	if a = ts.secured(token, riskBody, secured{path: riskPath}); a.Header().Get("Wechatmp-Serial-Deprecated") != "" {
		t.Errorf("%v", a.Header())
	}
}

func TestAPISecurityErrors(t *testing.T) {
	ts := newTester(t, securityConfig())
	token := ts.token()
	without := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Del(name) }
	}
	now := time.Now().Unix()
	for name, test := range map[string]struct {
		request secured
		want    int
	}{
		"no timestamp":      {secured{alter: without("Wechatmp-TimeStamp")}, 40231},
		"no signature":      {secured{alter: without("Wechatmp-Signature")}, 40232},
		"no appid":          {secured{alter: without("Wechatmp-Appid")}, 40233},
		"wrong signature":   {secured{alter: func(r *http.Request) { r.Header.Set("Wechatmp-Signature", "AAAA") }}, 40234},
		"no base64":         {secured{alter: func(r *http.Request) { r.Header.Set("Wechatmp-Signature", "-") }}, 40234},
		"another body":      {secured{alter: func(r *http.Request) { r.Header.Set("Wechatmp-TimeStamp", strconv.FormatInt(now-1, 10)) }}, 40234},
		"another key's":     {secured{sn: "x"}, 40235},
		"plain body":        {secured{body: func([]byte) []byte { return []byte(riskBody) }}, 40235},
		"another's inside":  {secured{inner: map[string]any{"_appid": "wx2"}}, 40235},
		"another time":      {secured{inner: map[string]any{"_timestamp": now - 9}}, 40235},
		"no nonce":          {secured{inner: map[string]any{"_n": ""}}, 40235},
		"unknown appid":     {secured{appID: "wx9"}, 40236},
		"another account":   {secured{appID: "wx2"}, 40237},
		"old":               {secured{at: now - 310}, 40240},
		"from the future":   {secured{at: now + 310}, 40240},
		"white space":       {secured{body: func(b []byte) []byte { return append(append([]byte(" "), b...), '\n') }}, 0},
		"a serial, besides": {secured{alter: func(r *http.Request) { r.Header.Set("Wechatmp-Serial", "1") }}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			test.request.path = riskPath
			a := tester{t, ts.server}.secured(token, riskBody, test.request)
			if test.want != 0 {
				a.want(test.want)
			} else if a.Header().Get("Wechatmp-Signature") == "" {
				t.Errorf("%s", a.Body)
			}
		})
	}
	other := ts.get("/cgi-bin/token?grant_type=client_credential&appid=wx2&secret=secret2").text("access_token")
	ts.secured(other, riskBody, secured{path: riskPath, appID: "wx2"}).want(40238)
	for want, security := range map[int]*sandbox.APISecurity{
		40238: {PublicKey: publicPEM()}, 40239: {Keys: []sandbox.SecurityKey{{SN: securitySN, Key: securityKey}}},
	} {
		half := newTester(t, sandbox.Config{Accounts: []sandbox.Account{{AppID: appID, AppSecret: secret, APISecurity: security}}})
		half.secured(half.token(), riskBody, secured{path: riskPath}).want(want)
	}
	none := newTester(t, sandbox.Config{})
	for _, a := range []answer{none.get("/sandbox/certificate"), none.post("/sandbox/certificate/rotate", "")} {
		if a.Code != http.StatusNotFound {
			t.Errorf("%d", a.Code)
		}
	}
}

func TestAPISecurityConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(file, []byte(publicPEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&signingKey().PublicKey)}))
	good := []sandbox.SecurityKey{{SN: "n", Key: securityKey}}
	for name, test := range map[string]struct {
		security sandbox.APISecurity
		want     string
	}{
		"PEM":       {sandbox.APISecurity{Keys: good, PublicKey: publicPEM()}, ""},
		"PKCS#1":    {sandbox.APISecurity{Keys: good, PublicKey: pkcs1}, ""},
		"file":      {sandbox.APISecurity{Keys: good, PublicKey: file}, ""},
		"nothing":   {sandbox.APISecurity{}, "needs key"},
		"no file":   {sandbox.APISecurity{Keys: good, PublicKey: file + "x"}, "public_key"},
		"no key":    {sandbox.APISecurity{Keys: good, PublicKey: "-----BEGIN X-----\n-----END X-----\n"}, "no RSA key"},
		"short key": {sandbox.APISecurity{Keys: []sandbox.SecurityKey{{SN: "n", Key: "AAAA"}}, PublicKey: publicPEM()}, "32 bytes"},
		"no number": {sandbox.APISecurity{Keys: []sandbox.SecurityKey{{Key: securityKey}}, PublicKey: publicPEM()}, "key <sn> <base64>"},
	} {
		_, err := sandbox.New(sandbox.Config{Accounts: []sandbox.Account{{AppID: "wx1", AppSecret: "s", APISecurity: &test.security}}})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), securityKey) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}
