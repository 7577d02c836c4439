package apisecurity

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Config is what an account has set up in WeChat's console.
type Config struct {
	AppID string

	// KeySerial is the number of the symmetric key, and Key the key itself, in
	// base64.
	KeySerial string
	Key       string

	// SignKey is the private key, in PEM. SignSerial is its number, which may
	// be empty.
	SignSerial string
	SignKey    string

	// Verify holds the platform's certificates in PEM by their numbers.
	Verify map[string]string

	// PlainAnswers says that answers are taken that are not encrypted.
	PlainAnswers bool
}

// Keys are an account's keys. They print as the AppID.
type Keys struct {
	appID        string
	keySerial    string
	aead         cipher.AEAD
	signSerial   string
	signer       *rsa.PrivateKey
	verifiers    map[string]*rsa.PublicKey // by the certificate's number
	plainAnswers bool
}

// String returns the AppID alone, so that no log line shows a key.
func (k *Keys) String() string { return k.appID }

// GoString returns the AppID alone as well.
func (k *Keys) GoString() string { return k.appID }

// A KeyError says what is wrong with an option. It holds nothing of its value.
type KeyError struct {
	Option string // key, sign or verify
	Reason string
}

// Error names the option and the cure.
func (e *KeyError) Error() string { return e.Option + " " + e.Reason }

const (
	aesKeySize = 32
	sm4KeySize = 16
)

// noSM is the answer to keys of the other algorithms in the console.
const noSM = "is for SM2 or SM4, which are not supported: choose AES256_GCM and RSAwithSHA256 in the console (开发管理 – 开发设置 – API安全)"

// NewKeys returns the keys of a configuration. Errors are of type *KeyError.
func NewKeys(c Config) (*Keys, error) {
	aead, err := parseSymmetric(c.Key)
	switch {
	case err != nil:
		return nil, err
	case c.AppID == "":
		return nil, &KeyError{"appid", "is missing"}
	case c.KeySerial == "":
		return nil, &KeyError{"key", "has no number: write key <sn> {env.API_KEY}, for example"}
	case len(c.Verify) == 0:
		return nil, &KeyError{"verify", "is missing: write verify <number> {file./etc/wechat.pem}, with the platform's certificate and its number in the console"}
	}
	k := &Keys{
		appID:        c.AppID,
		keySerial:    c.KeySerial,
		aead:         aead,
		signSerial:   c.SignSerial,
		verifiers:    make(map[string]*rsa.PublicKey, len(c.Verify)),
		plainAnswers: c.PlainAnswers,
	}
	if k.signer, err = parsePrivate(c.SignKey); err != nil {
		return nil, err
	}
	for number, text := range c.Verify {
		if k.verifiers[number], err = parseVerifier(number, text); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func parseSymmetric(text string) (cipher.AEAD, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	switch {
	case err != nil || len(raw) != aesKeySize && len(raw) != sm4KeySize:
		return nil, &KeyError{"key", "is no AES256_GCM key: write the 32 bytes as the console shows them, in base64"}
	case len(raw) == sm4KeySize:
		return nil, &KeyError{"key", noSM}
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, &KeyError{"key", "is no AES key"}
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, &KeyError{"key", "is no AES key"}
	}
	return aead, nil
}

func parsePrivate(text string) (*rsa.PrivateKey, error) {
	kind, der := decode(text)
	if strings.Contains(kind, "ENCRYPTED") {
		return nil, &KeyError{"sign", "is encrypted with a password: write the key without one"}
	}
	if isSM(der) || kind == "EC PRIVATE KEY" {
		return nil, &KeyError{"sign", noSM}
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, &KeyError{"sign", "is no RSA private key: write it in PEM, PKCS#1 or PKCS#8, as in {file./run/secrets/api.pem}"}
	}
	if rsaKey, ok := key.(*rsa.PrivateKey); ok {
		return rsaKey, nil
	}
	return nil, &KeyError{"sign", noSM}
}

func parseVerifier(number, text string) (*rsa.PublicKey, error) {
	if number == "" {
		return nil, &KeyError{"verify", "has no number: write verify <number> {file./etc/wechat.pem}, with the certificate's number in the console"}
	}
	option := fmt.Sprintf("verify %.64q", number)
	kind, der := decode(text)
	if isSM(der) {
		return nil, &KeyError{option, noSM}
	}
	if strings.Contains(kind, "PRIVATE KEY") {
		return nil, &KeyError{option, "is a private key: write the platform's certificate, which the console has for download"}
	}
	key, err := parsePublic(der)
	if err != nil {
		return nil, &KeyError{option, "is neither a certificate nor a public key: write it in PEM, as in {file./etc/wechat.pem}"}
	}
	if rsaKey, ok := key.(*rsa.PublicKey); ok {
		return rsaKey, nil
	}
	return nil, &KeyError{option, noSM}
}

func parsePublic(der []byte) (any, error) {
	if certificate, err := x509.ParseCertificate(der); err == nil {
		return certificate.PublicKey, nil
	}
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("no public key")
}

// decode returns what is in a PEM text, and the kind that it says it is. An
// environment variable may have \n in place of line breaks, and the lines
// before and after may be missing.
func decode(text string) (kind string, der []byte) {
	text = strings.ReplaceAll(text, `\n`, "\n")
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "EC PARAMETERS" { // which come before the key
			return block.Type, block.Bytes
		}
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return "", nil
	}
	return "", der
}

// sm2Curve is the identifier of the curve of SM2, 1.2.156.10197.1.301, in DER.
var sm2Curve = []byte{0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d}

func isSM(der []byte) bool { return bytes.Contains(der, sm2Curve) }
