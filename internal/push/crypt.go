package push

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeChat's signature is this
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

const (
	encodedKeyLength = 43 // of the base64 form without its padding
	paddedTo         = 32 // PKCS#7 with this block, not with AES's
	saltLength       = 16
	headerLength     = saltLength + 4 // and the message's length
)

// Key is the AES key of a platform's messages. It prints as nothing.
type Key struct{ bytes [32]byte }

// String hides the key.
func (Key) String() string { return "REDACTED" }

// GoString hides the key.
func (Key) GoString() string { return "REDACTED" }

// ParseKey reads an EncodingAESKey as the platform's console shows it. Its
// errors repeat nothing of it.
func ParseKey(encodingAESKey string) (Key, error) {
	var k Key
	if n := len(encodingAESKey); n != encodedKeyLength {
		return k, fmt.Errorf("the key has %d characters instead of %d: write the whole message key (EncodingAESKey) of the platform, without = at its end", n, encodedKeyLength)
	}
	// The last character has two bits too many, which may be anything.
	decoded, err := base64.StdEncoding.DecodeString(encodingAESKey + "=")
	if err != nil || len(decoded) != len(k.bytes) {
		return k, fmt.Errorf("the key is no EncodingAESKey, which has %d letters and digits: copy it again from the platform's console", encodedKeyLength)
	}
	copy(k.bytes[:], decoded)
	return k, nil
}

// Sign returns the msg_signature of a push.
func Sign(token, timestamp, nonce, encrypted string) string {
	parts := []string{token, timestamp, nonce, encrypted}
	slices.Sort(parts)
	sum := sha1.Sum([]byte(strings.Join(parts, ""))) //nolint:gosec // likewise
	return hex.EncodeToString(sum[:])
}

// Encrypt returns the Encrypt field of a message to a platform, as WeChat makes
// it.
func Encrypt(k Key, appID, message string) string {
	plain := make([]byte, saltLength, headerLength+len(message)+len(appID)+paddedTo)
	_, _ = rand.Read(plain) // it never fails
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(message)))
	plain = append(plain, message...)
	plain = append(plain, appID...)
	padding := paddedTo - len(plain)%paddedTo
	plain = append(plain, bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(k.block(), k.iv()).CryptBlocks(plain, plain)
	return base64.StdEncoding.EncodeToString(plain)
}

// decrypt returns the message of an Encrypt field and the appid behind it.
func decrypt(k Key, encrypted string) (message []byte, appID string, err error) {
	data, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, "", errDecrypt
	}
	cipher.NewCBCDecrypter(k.block(), k.iv()).CryptBlocks(data, data)
	padding := int(data[len(data)-1])
	if padding < 1 || padding > paddedTo || padding > len(data) {
		return nil, "", errDecrypt
	}
	for _, b := range data[len(data)-padding:] {
		if int(b) != padding {
			return nil, "", errDecrypt
		}
	}
	data = data[:len(data)-padding]
	if len(data) < headerLength {
		return nil, "", errDecrypt
	}
	length := int64(binary.BigEndian.Uint32(data[saltLength:headerLength]))
	data = data[headerLength:]
	if length > int64(len(data)) {
		return nil, "", errDecrypt
	}
	return data[:length], string(data[length:]), nil
}

// block returns the cipher. It never fails for a key of this length.
func (k Key) block() cipher.Block {
	block, _ := aes.NewCipher(k.bytes[:])
	return block
}

func (k Key) iv() []byte { return k.bytes[:aes.BlockSize] }
