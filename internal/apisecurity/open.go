package apisecurity

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// maxAge is how old an answer may be. One from the future is only a clock that
// is wrong.
const maxAge = 300 * time.Second

// An OpenError says why an answer is not taken for WeChat's. It holds nothing
// of the answer but the numbers of certificates.
type OpenError struct {
	Reason string
}

// Error returns the reason.
func (e *OpenError) Error() string { return e.Reason }

// ErrPlainAnswer is returned for an answer that should have been encrypted.
var ErrPlainAnswer = &OpenError{"WeChat's answer is not encrypted: is API security switched on in the console, and does this API support it? If it does not, take it out of paths, or write plain_answers"}

// Opened is an answer as it would have been without API security.
type Opened struct {
	Body []byte

	// Deprecated is the number of the platform's certificate that verified the
	// answer, if that is the outgoing one: the next has to be configured.
	Deprecated string
}

// Open returns an answer of status 200 to a request that was sealed. What is no
// JSON object passes as it is, and so does an error, which WeChat does not
// encrypt. Errors are of type *OpenError.
func (k *Keys) Open(now time.Time, path string, h http.Header, body []byte) (Opened, error) {
	outer, err := parseObject(body)
	if err != nil {
		return Opened{Body: body}, nil //nolint:nilerr // a picture, say
	}
	sealed, ok := outer.envelope()
	if !ok {
		if outer.hasErrcode() || k.plainAnswers {
			return Opened{Body: body}, nil
		}
		return Opened{}, ErrPlainAnswer
	}
	deprecated, err := k.verify(path, h, body)
	if err != nil {
		return Opened{}, err
	}
	if err := k.checkHeader(now, h); err != nil {
		return Opened{}, err
	}
	timestamp := h.Get(headerTimestamp)
	text, err := k.decrypt(sealed, path, timestamp)
	if err != nil {
		return Opened{}, err
	}
	inner, err := parseObject(text)
	if err != nil {
		return Opened{}, &OpenError{"WeChat's answer holds no JSON object"}
	}
	if err := k.checkFields(inner, timestamp); err != nil {
		return Opened{}, err
	}
	return Opened{Body: inner.without(fieldNonce, fieldAppID, fieldTimestamp).append(nil), Deprecated: deprecated}, nil
}

// envelope returns what an encrypted body holds.
func (o object) envelope() (envelope, bool) {
	var e envelope
	var hasIV, hasData, hasTag bool
	e.IV, hasIV = o.text("iv")
	e.Data, hasData = o.text("data")
	e.Tag, hasTag = o.text("authtag")
	return e, hasIV && hasData && hasTag
}

// verify checks the signature by the certificate that is known. It returns the
// certificate's number if it is the outgoing one.
func (k *Keys) verify(path string, h http.Header, body []byte) (deprecated string, err error) {
	number, signature := h.Get(headerSerial), h.Get(headerSignature)
	key := k.verifiers[number]
	if key == nil {
		number, signature = h.Get(headerSerialDeprecated), h.Get(headerSignatureDeprecated)
		key, deprecated = k.verifiers[number], number
	}
	if key == nil {
		return "", &OpenError{fmt.Sprintf("WeChat signed its answer with a certificate that is not configured: write verify %.64q with it", h.Get(headerSerial))}
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || rsa.VerifyPSS(key, crypto.SHA256, k.digest(path, h.Get(headerTimestamp), body), raw, pss) != nil {
		return "", &OpenError{"the signature of WeChat's answer is wrong"}
	}
	return deprecated, nil
}

// checkHeader checks whom the answer is for, and its age.
func (k *Keys) checkHeader(now time.Time, h http.Header) error {
	if h.Get(headerAppID) != k.appID {
		return &OpenError{"WeChat's answer is for another appid"}
	}
	seconds, err := strconv.ParseInt(h.Get(headerTimestamp), 10, 64)
	if err != nil {
		return &OpenError{"WeChat's answer has no time"}
	}
	if seconds < now.Add(-maxAge).Unix() {
		return &OpenError{"WeChat's answer is more than 300 s old, or this machine's clock is ahead"}
	}
	return nil
}

func (k *Keys) decrypt(e envelope, path, timestamp string) ([]byte, error) {
	iv, ivErr := base64.StdEncoding.DecodeString(e.IV)
	data, dataErr := base64.StdEncoding.DecodeString(e.Data)
	tag, tagErr := base64.StdEncoding.DecodeString(e.Tag)
	if ivErr != nil || dataErr != nil || tagErr != nil || len(iv) != ivSize || len(tag) != tagSize {
		return nil, &OpenError{"WeChat's answer is not encrypted with AES256_GCM"}
	}
	text, err := k.aead.Open(nil, iv, append(data, tag...), k.additional(path, timestamp))
	if err != nil {
		return nil, &OpenError{"WeChat's answer cannot be decrypted: is key the one that the console shows, with its number?"}
	}
	return text, nil
}

// checkFields checks that what was encrypted belongs to what was not.
func (k *Keys) checkFields(inner object, timestamp string) error {
	var hasAppID, hasTimestamp bool
	for _, m := range inner {
		value := string(m.value)
		if s, ok := (object{m}).text(m.name); ok {
			value = s
		}
		switch m.name {
		case fieldAppID:
			if hasAppID = true; value != k.appID {
				return &OpenError{"WeChat's answer is for another appid"}
			}
		case fieldTimestamp:
			if hasTimestamp = true; value != timestamp {
				return &OpenError{"WeChat's answer is of another time than it says"}
			}
		}
	}
	if !hasAppID || !hasTimestamp {
		return &OpenError{"WeChat's answer does not say whom it is for, or of what time it is"}
	}
	return nil
}
