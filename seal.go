package weixin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// sealVersion is the first bytes of every sealed value. It changes with the
// form of what is sealed.
const sealVersion = "weixin1\n"

// errUnsealable says that a value was not sealed with these credentials, or not
// by this software, or was changed since.
var errUnsealable = errors.New("the stored value was sealed with another AppSecret, or is damaged")

// seal encrypts a value so that only who knows the account's AppSecret can read
// or change it. The AppID is authenticated with it: a value moved to another
// account's key does not open.
func seal(cred wechat.Credentials, plaintext []byte) ([]byte, error) {
	aead, err := sealKey(cred)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, len(sealVersion)+aead.NonceSize(), len(sealVersion)+aead.NonceSize()+len(plaintext)+aead.Overhead())
	copy(sealed, sealVersion)
	nonce := sealed[len(sealVersion):]
	rand.Read(nonce)
	return aead.Seal(sealed, nonce, plaintext, []byte(cred.AppID)), nil
}

// unseal is the inverse of seal.
func unseal(cred wechat.Credentials, sealed []byte) ([]byte, error) {
	aead, err := sealKey(cred)
	if err != nil {
		return nil, err
	}
	if len(sealed) < len(sealVersion)+aead.NonceSize() || string(sealed[:len(sealVersion)]) != sealVersion {
		return nil, errUnsealable
	}
	nonce, ciphertext := sealed[len(sealVersion):][:aead.NonceSize()], sealed[len(sealVersion)+aead.NonceSize():]
	plaintext, err := aead.Open(nil, nonce, ciphertext, []byte(cred.AppID))
	if err != nil {
		return nil, errUnsealable
	}
	return plaintext, nil
}

func sealKey(cred wechat.Credentials) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(cred.AppSecret), []byte(cred.AppID), "caddy-weixin stored token", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
