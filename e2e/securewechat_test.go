package e2e

import (
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
	"io"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	securityKeySN = "fa05fe1e5bcc79b81ad5ad4b58acf787"
	platformSN    = "79ba700ea147819f640941bceb38b1d1"
	nextSN        = "11ba700ea147819f640941bceb38b1d1"
	riskPath      = "/wxa/getuserriskrank"
	riskBody      = `{"openid":"oEWzBfmdLqhFS2mTXCo2E4Y9gJAM","scene":0,"big":12345678901234567890,"text":"<a&b> 你好"}`
	riskAnswer    = `{"errcode":0,"errmsg":"ok","risk_rank":0,"unoin_id":12345678901234567890,"f":1.50,"s":"<&>\u4f60"}`
)

// secureKeys are made once, as that takes a while: the application's key, and
// those of the platform's certificate and of another.
var secureKeys = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// secureWeChat is WeChat's side of API security, from its documentation alone.
type secureWeChat struct {
	t    *testing.T
	w    *weChat
	key  []byte
	app  *rsa.PrivateKey // the proxy's; its public half is WeChat's
	cert *rsa.PrivateKey
	next *rsa.PrivateKey

	mu       sync.Mutex
	received []sealedRequest
	answer   string              // what is encrypted, after the proxy's fields
	alter    func(*sealedAnswer) // before it is sent
	instead  func(rw http.ResponseWriter, req *http.Request) bool
}

// sealedRequest is a request that was opened.
type sealedRequest struct {
	iv, query string
	header    http.Header
	fields    map[string]json.RawMessage
	body      string // as it came
}

// sealedAnswer is an answer, with what can be wrong with it.
type sealedAnswer struct {
	at           time.Time
	inner        map[string]string // in place of _appid and _timestamp
	path, appID  string
	serial       string
	signer       *rsa.PrivateKey
	deprecated   string // the number of the outgoing certificate
	salt         int
	tamper       func(body []byte) []byte
	status       int
	chunked      bool
	extraHeaders http.Header
}

// startSecureWeChat has w answer as WeChat does to requests of API security.
func startSecureWeChat(t *testing.T) *secureWeChat {
	t.Helper()
	keys := secureKeys()
	s := &secureWeChat{
		t: t, w: startWeChat(t), key: make([]byte, 32), answer: riskAnswer,
		app: keys[0], cert: keys[1], next: keys[2],
	}
	rand.Read(s.key)
	s.w.answer(s.ServeHTTP)
	s.w.secrets = append(s.w.secrets, s.keyText())
	for line := range strings.Lines(s.signPEM()) {
		if line = strings.TrimSpace(line); len(line) == 64 && !strings.HasPrefix(line, "-") {
			s.w.secrets = append(s.w.secrets, line)
		}
	}
	return s
}

func (s *secureWeChat) keyText() string { return base64.StdEncoding.EncodeToString(s.key) }

// signPEM is the application's key as the console hands it out.
func (s *secureWeChat) signPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(s.app)}))
}

func (s *secureWeChat) publicPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&s.app.PublicKey)}))
}

func certificateOf(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// env has the keys as the configuration's placeholders want them.
func (s *secureWeChat) env() []string {
	return []string{
		"API_KEY=" + s.keyText(), "API_PEM=" + s.signPEM(),
		"PLATFORM_PEM=" + certificateOf(s.t, s.cert), "NEXT_PEM=" + certificateOf(s.t, s.next),
	}
}

// secureAccount is the account with API security, and more options of it.
func secureAccount(more string) string {
	return `
	account shop {
		appid {env.WEIXIN_APPID}
		secret {env.WEIXIN_SECRET}
		api_security {
			key ` + securityKeySN + ` {env.API_KEY}
			sign {env.API_PEM}
			verify ` + platformSN + ` {env.PLATFORM_PEM}
			` + more + `
		}
	}`
}

// start starts a Caddy for the account.
func (s *secureWeChat) start(more string, c config) *caddy {
	s.t.Helper()
	c.global = secureAccount(more)
	c.env = append(c.env, s.env()...)
	return startCaddy(s.t, s.w, c)
}

func (s *secureWeChat) aead() cipher.AEAD {
	block, err := aes.NewCipher(s.key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// set changes how requests are answered.
func (s *secureWeChat) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// opened returns the requests that were opened.
func (s *secureWeChat) opened() []sealedRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sealedRequest(nil), s.received...)
}

func (s *secureWeChat) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instead != nil && s.instead(rw, req) {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r, err := s.open(req, body)
	if err != nil {
		fmt.Fprintf(rw, `{"errcode":40234,"errmsg":%q}`, err.Error())
		return
	}
	s.received = append(s.received, r)
	a := &sealedAnswer{
		at: time.Now(), path: req.URL.Path, appID: appID, serial: platformSN, signer: s.cert,
		salt: 32, status: http.StatusOK, extraHeaders: make(http.Header),
	}
	if s.alter != nil {
		s.alter(a)
	}
	s.write(rw, a)
}

// open verifies and decrypts a request.
func (s *secureWeChat) open(req *http.Request, body []byte) (sealedRequest, error) {
	r := sealedRequest{query: req.URL.RawQuery, header: req.Header, body: string(body)}
	at := req.Header.Get("Wechatmp-TimeStamp")
	url := "https://api.weixin.qq.com" + req.URL.Path
	signature, _ := base64.StdEncoding.DecodeString(req.Header.Get("Wechatmp-Signature"))
	sum := sha256.Sum256([]byte(url + "\n" + appID + "\n" + at + "\n" + string(body)))
	if err := rsa.VerifyPSS(&s.app.PublicKey, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: 32}); err != nil {
		return r, fmt.Errorf("the signature of %q: %v", body, err)
	}
	var e struct{ IV, Data, AuthTag string }
	if err := json.Unmarshal(body, &e); err != nil {
		return r, err
	}
	iv, _ := base64.StdEncoding.DecodeString(e.IV)
	data, _ := base64.StdEncoding.DecodeString(e.Data)
	tag, _ := base64.StdEncoding.DecodeString(e.AuthTag)
	if len(iv) != 12 || len(tag) != 16 {
		return r, fmt.Errorf("iv of %d bytes, tag of %d", len(iv), len(tag))
	}
	text, err := s.aead().Open(nil, iv, append(data, tag...), []byte(url+"|"+appID+"|"+at+"|"+securityKeySN))
	if err != nil {
		return r, err
	}
	r.iv = e.IV
	if err := json.Unmarshal(text, &r.fields); err != nil {
		return r, err
	}
	if string(r.fields["_timestamp"]) != at || string(r.fields["_appid"]) != `"`+appID+`"` || len(r.fields["_n"]) < 22 {
		return r, fmt.Errorf("inside there is %s", text)
	}
	if seconds, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)) > time.Minute {
		return r, fmt.Errorf("the time is %s", at)
	}
	for _, name := range []string{"_n", "_timestamp", "_appid"} {
		delete(r.fields, name)
	}
	return r, nil
}

// write encrypts and signs an answer.
func (s *secureWeChat) write(rw http.ResponseWriter, a *sealedAnswer) {
	at := strconv.FormatInt(a.at.Unix(), 10)
	inner := map[string]string{"_n": `"bm9uY2Utbm9uY2Utbm9u"`, "_appid": `"` + a.appID + `"`, "_timestamp": at}
	maps.Copy(inner, a.inner)
	text := fmt.Sprintf(`{"_n":%s,"_appid":%s,"_timestamp":%s`, inner["_n"], inner["_appid"], inner["_timestamp"])
	if s.answer != "{}" {
		text += ","
	}
	text += s.answer[1:]
	iv := make([]byte, 12)
	rand.Read(iv)
	url := "https://api.weixin.qq.com" + a.path
	sealed := s.aead().Seal(nil, iv, []byte(text), []byte(url+"|"+a.appID+"|"+at+"|"+securityKeySN))
	b64 := base64.StdEncoding.EncodeToString
	body := fmt.Appendf(nil, `{"iv":%q,"data":%q,"authtag":%q}`, b64(iv), b64(sealed[:len(sealed)-16]), b64(sealed[len(sealed)-16:]))
	sum := sha256.Sum256([]byte(url + "\n" + a.appID + "\n" + at + "\n" + string(body)))
	sign := func(key *rsa.PrivateKey) string {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: a.salt})
		if err != nil {
			s.t.Error(err)
		}
		return b64(signature)
	}
	h := rw.Header()
	maps.Copy(h, a.extraHeaders)
	h.Set("Wechatmp-Appid", a.appID)
	h.Set("Wechatmp-TimeStamp", at)
	h.Set("Wechatmp-Serial", a.serial)
	h.Set("Wechatmp-Signature", sign(a.signer))
	if a.deprecated != "" {
		h.Set("Wechatmp-Serial-Deprecated", a.deprecated)
		h.Set("Wechatmp-Signature-Deprecated", sign(s.cert))
	}
	if a.tamper != nil {
		body = a.tamper(body)
	}
	rw.WriteHeader(a.status)
	_, _ = rw.Write(body[:len(body)/2])
	if a.chunked {
		_ = http.NewResponseController(rw).Flush()
	}
	_, _ = rw.Write(body[len(body)/2:])
}

// validate has a Caddyfile be validated, and returns what is said. line is the
// one that has to be named, or 0 for a Caddyfile that is right.
func validate(t *testing.T, caddyfile string, line int, env []string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ok := run(t, env, "validate", "--config", file)
	switch {
	case ok != (line == 0):
		t.Errorf("accepted is %v: %s", ok, out)
	case line > 0 && !strings.Contains(out, fmt.Sprintf("%s:%d", file, line)):
		t.Errorf("line %d is not named: %s", line, out)
	}
	return out
}
