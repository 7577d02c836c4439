package sandbox

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
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// APISecurity is an account's setting for requests that are encrypted and
// signed.
type APISecurity struct {
	// The symmetric keys, AES256_GCM. Default: none, and requests get 40238.
	Keys []SecurityKey `json:"keys,omitempty"`

	// The RSA public key, or a certificate with it, that the application's
	// signatures are verified with: PEM, or the name of a file. Placeholders are
	// resolved when the configuration is loaded. Default: none, and requests get
	// 40239.
	PublicKey string `json:"public_key,omitempty"`
}

// SecurityKey is a symmetric key.
type SecurityKey struct {
	// The key's number. Placeholders are resolved when the configuration is
	// loaded. Default: none, it is required.
	SN string `json:"sn,omitempty"`

	// The key, 32 bytes as base64. Placeholders are resolved when the
	// configuration is loaded. Default: none, it is required.
	Key string `json:"key,omitempty"`
}

// String returns the number alone, so that no log line shows the key.
func (k SecurityKey) String() string { return k.SN }

// GoString returns the number alone as well.
func (k SecurityKey) GoString() string { return k.SN }

// Errcodes of API security.
const (
	timestampMissing    = 40231
	signatureMissing    = 40232
	securityAppMissing  = 40233
	invalidSignature    = 40234
	invalidEncryption   = 40235
	invalidSecurityApp  = 40236
	foreignSecurityApp  = 40237
	symmetricKeyMissing = 40238
	publicKeyMissing    = 40239
	timestampTooOld     = 40240
)

const (
	maxSecurityAge = 300 * time.Second
	pssSaltLength  = 32
	// securityHost is the host in the strings that are signed and encrypted,
	// whatever the request's is.
	securityHost = "https://api.weixin.qq.com"
)

// apiSecurity is what an account's setting comes to. It never changes.
type apiSecurity struct {
	keys   []sealer
	public *rsa.PublicKey // nil where there is none
}

// sealer is a symmetric key with its number.
type sealer struct {
	sn   string
	aead cipher.AEAD
}

func newAPISecurity(config *APISecurity) (*apiSecurity, error) {
	if len(config.Keys) == 0 && config.PublicKey == "" {
		return nil, errors.New("api_security needs key <sn> <base64> and public_key <file or PEM>")
	}
	security := new(apiSecurity)
	if config.PublicKey != "" {
		var err error
		if security.public, err = readPublicKey(config.PublicKey); err != nil {
			return nil, err
		}
	}
	for _, k := range config.Keys {
		key, err := base64.StdEncoding.DecodeString(k.Key)
		if err != nil || len(key) != aesKeySize || k.SN == "" {
			return nil, fmt.Errorf("key %s is not 32 bytes as base64: write key <sn> <base64>", k.SN)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		security.keys = append(security.keys, sealer{k.SN, aead})
	}
	return security, nil
}

func readPublicKey(text string) (*rsa.PublicKey, error) {
	if !strings.Contains(text, "-----BEGIN") {
		data, err := os.ReadFile(text)
		if err != nil {
			return nil, fmt.Errorf("public_key: %w", err)
		}
		text = string(data)
	}
	errNone := errors.New("public_key is no RSA key: write the PEM of a public key or of a certificate, or the name of its file")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNone
	}
	if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return key, nil
	}
	if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
			return key, nil
		}
	}
	if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		if key, ok := parsed.(*rsa.PublicKey); ok {
			return key, nil
		}
	}
	return nil, errNone
}

// envelope is an encrypted body.
type envelope struct {
	IV      string `json:"iv"`
	Data    string `json:"data"`
	AuthTag string `json:"authtag"`
}

// additional is what is authenticated beside the text.
func additional(path, appID string, at int64, sn string) []byte {
	return []byte(securityHost + path + "|" + appID + "|" + strconv.FormatInt(at, 10) + "|" + sn)
}

// signedText is what is signed.
func signedText(path, appID string, at int64, body []byte) []byte {
	return append([]byte(securityHost+path+"\n"+appID+"\n"+strconv.FormatInt(at, 10)+"\n"), body...)
}

// isSecured reports whether a request is meant to be one of API security.
func isSecured(header http.Header) bool {
	for _, name := range []string{"Wechatmp-Appid", "Wechatmp-Timestamp", "Wechatmp-Signature", "Wechatmp-Serial"} {
		if header.Get(name) != "" {
			return true
		}
	}
	return false
}

// unseal verifies and decrypts a body, if it is encrypted, and leaves what was
// inside of it in its place.
func (c *call) unseal(r *route) error {
	if r.reads != jsonBody || c.account == nil || !isSecured(c.r.Header) {
		return nil
	}
	at, err := c.checkSecurityHeader()
	if err != nil {
		return err
	}
	security, path, appID := c.account.security, c.r.URL.Path, c.account.AppID
	signature, err := base64.StdEncoding.DecodeString(c.r.Header.Get("Wechatmp-Signature"))
	if err != nil || !verifyPSS(security.public, signedText(path, appID, at, c.raw), signature) {
		return refuse(invalidSignature)
	}
	text, key := security.open(c.raw, path, appID, at)
	if text == nil {
		return refuse(invalidEncryption)
	}
	c.json, c.fields = text, nil
	if err := c.parse(); err != nil {
		return err
	}
	if sealedAt, _ := whole(c.fields["_timestamp"]); c.text("_appid") != appID || int64(sealedAt) != at || c.text("_n") == "" {
		return refuse(invalidEncryption)
	}
	for _, name := range []string{"_n", "_appid", "_timestamp"} {
		delete(c.fields, name)
	}
	c.json, c.sealed = encode(c.fields), key
	return nil
}

// checkSecurityHeader returns the request's time.
func (c *call) checkSecurityHeader() (int64, error) {
	header := c.r.Header
	appID, timestamp := header.Get("Wechatmp-Appid"), header.Get("Wechatmp-Timestamp")
	at, err := strconv.ParseInt(timestamp, 10, 64)
	age := c.now.Sub(time.Unix(at, 0))
	switch {
	case c.account.security == nil || len(c.account.security.keys) == 0:
		return 0, refuse(symmetricKeyMissing)
	case c.account.security.public == nil:
		return 0, refuse(publicKeyMissing)
	case appID == "":
		return 0, refuse(securityAppMissing)
	case timestamp == "":
		return 0, refuse(timestampMissing)
	case header.Get("Wechatmp-Signature") == "":
		return 0, refuse(signatureMissing)
	case appID != c.account.AppID && c.server.hasAccount(appID):
		return 0, refuse(foreignSecurityApp)
	case appID != c.account.AppID:
		return 0, refuse(invalidSecurityApp)
	case err != nil || age > maxSecurityAge || age < -maxSecurityAge:
		return 0, refuse(timestampTooOld)
	}
	return at, nil
}

func (s *Server) hasAccount(appID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byAppID[appID] != nil
}

// open decrypts a body with the key that it was encrypted with. It returns nil
// where it is none of ours.
func (a *apiSecurity) open(body []byte, path, appID string, at int64) ([]byte, *sealer) {
	var e envelope
	if json.Unmarshal(body, &e) != nil {
		return nil, nil
	}
	iv, err1 := base64.StdEncoding.DecodeString(e.IV)
	data, err2 := base64.StdEncoding.DecodeString(e.Data)
	tag, err3 := base64.StdEncoding.DecodeString(e.AuthTag)
	for i := range a.keys {
		key := &a.keys[i]
		if errors.Join(err1, err2, err3) != nil || len(iv) != key.aead.NonceSize() {
			break
		}
		if text, err := key.aead.Open(nil, iv, append(slices.Clip(data), tag...), additional(path, appID, at, key.sn)); err == nil {
			return text, key
		}
	}
	return nil, nil
}

// seal encrypts an answer with the request's key, and signs it.
func (c *call) seal(header http.Header, answer []byte) []byte {
	path, appID, at := c.r.URL.Path, c.account.AppID, time.Now().Unix()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	text := encode(object{"_n": base64.StdEncoding.EncodeToString(nonce), "_appid": appID, "_timestamp": at})
	if string(answer) != "{}" {
		text = append(append(text[:len(text)-1], ','), answer[1:]...)
	}
	iv := make([]byte, c.sealed.aead.NonceSize())
	_, _ = rand.Read(iv)
	data := c.sealed.aead.Seal(nil, iv, text, additional(path, appID, at, c.sealed.sn))
	tagAt := len(data) - c.sealed.aead.Overhead()
	body := encode(envelope{
		IV:      base64.StdEncoding.EncodeToString(iv),
		Data:    base64.StdEncoding.EncodeToString(data[:tagAt]),
		AuthTag: base64.StdEncoding.EncodeToString(data[tagAt:]),
	})
	header.Set("Wechatmp-Appid", appID)
	header.Set("Wechatmp-TimeStamp", strconv.FormatInt(at, 10))
	c.server.certificates().sign(header, signedText(path, appID, at, body))
	return body
}

func verifyPSS(key *rsa.PublicKey, text, signature []byte) bool {
	sum := sha256.Sum256(text)
	return rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: pssSaltLength}) == nil
}

func signPSS(key *rsa.PrivateKey, text []byte) []byte {
	sum := sha256.Sum256(text)
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: pssSaltLength})
	if err != nil {
		panic(err) // the key was made for it
	}
	return signature
}
