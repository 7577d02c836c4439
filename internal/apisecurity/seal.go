package apisecurity

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Names that are added to what is encrypted.
const (
	fieldNonce     = "_n"
	fieldAppID     = "_appid"
	fieldTimestamp = "_timestamp"
)

// tokenParameter is what remains of the query.
const tokenParameter = "access_token"

// ErrQuery is returned for a query that cannot be understood.
var ErrQuery = errors.New("the query is not encoded as it should be")

const (
	ivSize  = 12
	tagSize = 16

	// A nonce is of a random length, so that of the body tells less.
	minNonce = 16
	maxNonce = 32
)

var pss = &rsa.PSSOptions{SaltLength: sha256.Size, Hash: crypto.SHA256}

// Seal returns a request's body encrypted, and the header fields that go with
// it. The path is as WeChat sees it, without what an upstream may have in front.
//
// The body is a JSON object, or empty; any other is refused with ErrNotObject,
// and can only be sent as it is. The parameters of the raw query become members
// of the object, except for those that it has: only the access_token is to
// remain of the query.
//
// What is sealed is good for a few minutes. Every attempt is sealed anew.
func (k *Keys) Seal(now time.Time, path, query string, body []byte) ([]byte, http.Header, error) {
	fields := object(nil)
	if !isBlank(body) {
		var err error
		if fields, err = parseObject(body); err != nil {
			return nil, nil, err
		}
	}
	fields, err := fields.withQuery(query)
	if err != nil {
		return nil, nil, err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	fields = fields.without(fieldNonce, fieldAppID, fieldTimestamp).
		with(fieldNonce, quote(newNonce())).
		with(fieldAppID, quote(k.appID)).
		with(fieldTimestamp, json.RawMessage(timestamp))
	iv := make([]byte, ivSize)
	_, _ = rand.Read(iv) // it never fails
	sealed := k.encrypt(iv, fields.append(nil), path, timestamp)
	signature, err := k.sign(path, timestamp, sealed)
	if err != nil {
		return nil, nil, errors.New("the request could not be signed") // the cause tells of the key
	}
	h := make(http.Header)
	h.Set("Content-Type", "application/json")
	h.Set(headerAppID, k.appID)
	h.Set(headerTimestamp, timestamp)
	h.Set(headerSignature, base64.StdEncoding.EncodeToString(signature))
	if k.signSerial != "" {
		// It is part of nothing that is signed.
		h.Set(headerSerial, k.signSerial)
	}
	return sealed, h, nil
}

// IsObject reports whether Seal takes a body.
func IsObject(body []byte) bool {
	_, err := parseObject(body)
	return err == nil || isBlank(body)
}

func isBlank(body []byte) bool {
	return len(bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark))) == 0
}

// withQuery returns the object with the query's parameters as strings.
func (o object) withQuery(query string) (object, error) {
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil {
			return nil, ErrQuery
		}
		if name != "" && name != tokenParameter && !o.has(name) {
			o = o.with(name, quote(value))
		}
	}
	return o, nil
}

// newNonce returns what makes every text that is encrypted another.
func newNonce() string {
	random := make([]byte, maxNonce+1)
	_, _ = rand.Read(random) // it never fails
	length := minNonce + int(random[maxNonce])%(maxNonce-minNonce+1)
	return base64.StdEncoding.EncodeToString(random[:length])
}

// envelope is an encrypted body.
type envelope struct {
	IV   string `json:"iv"`
	Data string `json:"data"`
	Tag  string `json:"authtag"`
}

func (k *Keys) encrypt(iv, text []byte, path, timestamp string) []byte {
	sealed := k.aead.Seal(nil, iv, text, k.additional(path, timestamp))
	data, tag := sealed[:len(text)], sealed[len(text):]
	// Three strings can be encoded.
	body, _ := json.Marshal(envelope{
		IV:   base64.StdEncoding.EncodeToString(iv),
		Data: base64.StdEncoding.EncodeToString(data),
		Tag:  base64.StdEncoding.EncodeToString(tag),
	})
	return body
}

// additional returns what is not encrypted, but has to be the same for the one
// who decrypts.
func (k *Keys) additional(path, timestamp string) []byte {
	return []byte(origin + path + "|" + k.appID + "|" + timestamp + "|" + k.keySerial)
}

// digest returns the hash of what is signed. The number of the key is no part
// of it.
func (k *Keys) digest(path, timestamp string, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(origin + path + "\n" + k.appID + "\n" + timestamp + "\n"))
	h.Write(body)
	return h.Sum(nil)
}

func (k *Keys) sign(path, timestamp string, body []byte) ([]byte, error) {
	return rsa.SignPSS(rand.Reader, k.signer, crypto.SHA256, k.digest(path, timestamp, body), pss)
}
