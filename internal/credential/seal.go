package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// sealVersion is the first bytes of every sealed value. It changes with the
// form of what is sealed.
const sealVersion = "weixin1\n"

// errUnsealable says that a value was not sealed for this credential, or not by
// this software, or was changed since.
var errUnsealable = errors.New("the stored value was sealed with another secret or for another upstream, or is damaged")

// sealer seals values so that only who knows a secret can read or change them,
// and only where they belong.
type sealer struct {
	secret  string
	salt    string
	purpose string
	place   string // is authenticated: what is moved elsewhere does not open
}

// sealerOf returns that of a credential's record.
func sealerOf(id *ID) *sealer {
	place := id.Identity + "\x00" + id.Upstream
	return &sealer{secret: id.Secret, salt: place, purpose: "caddy-weixin stored credential", place: place}
}

// formerSealer returns that of the records of earlier releases, which were bound
// to an AppID, but to no upstream.
func formerSealer(appID, secret string) *sealer {
	return &sealer{secret: secret, salt: appID, purpose: "caddy-weixin stored token", place: appID}
}

func (s *sealer) seal(plaintext []byte) ([]byte, error) {
	aead, err := s.key()
	if err != nil {
		return nil, err
	}
	head := len(sealVersion) + aead.NonceSize()
	sealed := make([]byte, head, head+len(plaintext)+aead.Overhead())
	copy(sealed, sealVersion)
	nonce := sealed[len(sealVersion):]
	rand.Read(nonce)
	return aead.Seal(sealed, nonce, plaintext, []byte(s.place)), nil
}

// unseal is the inverse of seal.
func (s *sealer) unseal(sealed []byte) ([]byte, error) {
	aead, err := s.key()
	if err != nil {
		return nil, err
	}
	if len(sealed) < len(sealVersion)+aead.NonceSize() || string(sealed[:len(sealVersion)]) != sealVersion {
		return nil, errUnsealable
	}
	nonce, ciphertext := sealed[len(sealVersion):][:aead.NonceSize()], sealed[len(sealVersion)+aead.NonceSize():]
	plaintext, err := aead.Open(nil, nonce, ciphertext, []byte(s.place))
	if err != nil {
		return nil, errUnsealable
	}
	return plaintext, nil
}

func (s *sealer) key() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.secret), []byte(s.salt), s.purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
