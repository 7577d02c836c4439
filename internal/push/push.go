// Package push opens what WeChat pushes to the authorisation-event URL of a
// third-party platform: the component_verify_ticket, and which accounts have
// authorised the platform or have withdrawn. A push is signed and encrypted with
// what the platform and WeChat alone know.
//
// The package holds no state and decides nothing: whether an event is new, and
// what follows from it, is its caller's. Nothing that it returns prints a ticket
// or a key.
package push

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
)

// MaxBody is the size of the largest body that Open looks into.
const MaxBody = 1 << 20

// Whoever pushed learns no more than that it was refused: which of these it was
// is for the operator.
var (
	// ErrSignature means that the push is not signed with the platform's token.
	ErrSignature = errors.New("msg_signature is missing or wrong: compare push_token with the platform's message token")

	// ErrAppID means that the push is for another platform.
	ErrAppID = errors.New("the push is for another appid: compare appid with the platform's, and the platform's authorisation-event URL with this one")

	// ErrMalformed means that the push is none, or was encrypted with another key.
	ErrMalformed = errors.New("the push cannot be read")
)

// errDecrypt is the one error of whatever is wrong with a ciphertext.
var errDecrypt = fmt.Errorf("%w: it does not decrypt: compare push_aes_key with the platform's message key", ErrMalformed)

// Receiver opens the pushes to one platform. It is safe for concurrent use.
type Receiver struct {
	appID string
	token string
	key   Key
}

// NewReceiver returns a receiver for a platform: its appid, the token with which
// WeChat signs and the key with which it encrypts.
func NewReceiver(appID, token string, key Key) *Receiver {
	return &Receiver{appID: appID, token: token, key: key}
}

// String hides token and key.
func (r *Receiver) String() string { return "push.Receiver{" + r.appID + "}" }

// GoString hides token and key.
func (r *Receiver) GoString() string { return r.String() }

// Open verifies and decrypts a push, given the query and the body with which it
// came. Its errors are ErrSignature, ErrAppID or ErrMalformed.
func (r *Receiver) Open(query url.Values, body []byte) (Event, error) {
	if len(body) > MaxBody {
		return Event{}, fmt.Errorf("%w: it is larger than %d bytes", ErrMalformed, MaxBody)
	}
	envelope, err := parseFields(body)
	if err != nil {
		return Event{}, err
	}
	encrypted := envelope["Encrypt"]
	if err := r.verify(query, encrypted); err != nil {
		return Event{}, err
	}
	if appID, ok := envelope["AppId"]; ok && appID != r.appID {
		return Event{}, ErrAppID
	}
	message, appID, err := decrypt(r.key, encrypted)
	if err != nil {
		return Event{}, err
	}
	if appID != r.appID {
		return Event{}, ErrAppID
	}
	event, err := parseEvent(message)
	if err != nil {
		return Event{}, err
	}
	if event.AppID != "" && event.AppID != r.appID {
		return Event{}, ErrAppID
	}
	return event, nil
}

// verify compares the signature in constant time. A parameter that stands twice
// is refused: whom the push is passed on to may read the other one.
func (r *Receiver) verify(query url.Values, encrypted string) error {
	for _, name := range []string{"msg_signature", "timestamp", "nonce"} {
		if len(query[name]) != 1 {
			return ErrSignature
		}
	}
	want := Sign(r.token, query.Get("timestamp"), query.Get("nonce"), encrypted)
	if subtle.ConstantTimeCompare([]byte(query.Get("msg_signature")), []byte(want)) != 1 {
		return ErrSignature
	}
	return nil
}
