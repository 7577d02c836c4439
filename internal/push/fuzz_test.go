package push

import (
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"testing"
)

// seal encrypts whole blocks as they are.
func seal(k Key, plain []byte) []byte {
	out := make([]byte, len(plain))
	cipher.NewCBCEncrypter(k.block(), k.iv()).CryptBlocks(out, plain)
	return out
}

// Whatever is signed and decrypts to anything at all is an event of this
// platform or an error that says why not.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(ticketEvent("ticket@@@x")))
	f.Add([]byte(authorizedEvent(Authorized)))
	f.Add([]byte("<xml><AppId>&#x41;</AppId></xml>"))
	f.Add([]byte(`{"AppId":"` + testAppID + `","InfoType":"authorized","AuthorizerAppid":"wx1"}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		query, body := pushOf(t, string(message))
		event, err := receiver(t).Open(query, body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAppID) {
				t.Errorf("error %v", err)
			}
			return
		}
		if event.InfoType != "" && event.AppID != testAppID {
			t.Errorf("an event of %q", event.AppID)
		}
	})
}

// No plaintext makes decrypt do anything but return its parts, or its one error.
func FuzzDecrypt(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add(append(make([]byte, 63), 32))
	f.Fuzz(func(t *testing.T, plain []byte) {
		key := mustKey(t, testAESKey)
		plain = plain[:len(plain)/16*16]
		message, appID, err := decrypt(key, base64.StdEncoding.EncodeToString(seal(key, plain)))
		if err != nil {
			if !errors.Is(err, errDecrypt) {
				t.Errorf("error %v", err)
			}
			return
		}
		if len(message)+len(appID) > len(plain)-headerLength-1 {
			t.Errorf("%d bytes of a message of %d", len(message)+len(appID), len(plain))
		}
	})
}

// No body is understood without a signature.
func FuzzBody(f *testing.F) {
	query, body := pushOf(f, ticketEvent("ticket@@@x"))
	f.Add(body)
	f.Fuzz(func(t *testing.T, changed []byte) {
		event, err := receiver(t).Open(query, changed)
		if err == nil && event.Ticket != "ticket@@@x" {
			t.Errorf("the event is %v", event)
		}
	})
}
