package weixin

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A virtual token stands for an account's access_token in applications. It is
// worth something to this proxy alone, and to those that share its
// configuration: who holds one can use the account through the proxy, as the
// caller it was issued to, until it expires.
//
// It is stateless. After a prefix come, in base64url, the account, the caller,
// the expiry, a nonce and an HMAC-SHA256 over these and the caller's key, under
// a key derived from the AppSecret. So it ends with either.
const (
	virtualTokenPrefix   = "cwx1_"
	virtualTokenLifetime = 7200 * time.Second // what SDKs expect
	virtualTokenPayload  = 2*len(virtualID{}) + 8 + 8
)

// Errors of verifyVirtualToken.
var (
	errVirtualTokenForged  = errors.New("it was not issued by this proxy, or its account's or caller's secret has changed")
	errVirtualTokenExpired = errors.New("ask the proxy for another")
)

// virtualID names an account or a caller in a virtual token.
type virtualID [8]byte

func newVirtualID(kind, name string) virtualID {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return virtualID(sum[:len(virtualID{})])
}

// virtualKey is what an account's virtual tokens are signed with.
func virtualKey(cred wechat.Credentials) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(cred.AppSecret), []byte(cred.AppID), "caddy-weixin virtual token", sha256.Size)
}

// virtualClaims is what a virtual token says.
type virtualClaims struct {
	account   virtualID
	caller    virtualID
	expiresAt time.Time
}

// virtualSecrets are what a virtual token is signed with.
type virtualSecrets struct {
	accountKey []byte
	callerKey  [sha256.Size]byte // the digest of the caller's key; zeros where there are no callers
}

// isVirtualToken says whether an access_token has the form of a virtual one.
func isVirtualToken(accessToken string) bool {
	return strings.HasPrefix(accessToken, virtualTokenPrefix)
}

// sign returns a token with these claims.
func (c *virtualClaims) sign(s *virtualSecrets) string {
	b := make([]byte, 0, virtualTokenPayload+sha256.Size)
	b = append(b, c.account[:]...)
	b = append(b, c.caller[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.expiresAt.Unix()))
	b = b[:virtualTokenPayload]
	rand.Read(b[virtualTokenPayload-8:])
	return virtualTokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

func (s *virtualSecrets) mac(payload []byte) []byte {
	h := hmac.New(sha256.New, s.accountKey)
	h.Write(payload)
	h.Write(s.callerKey[:])
	return h.Sum(nil)
}

// verifyVirtualToken returns what a token says. secrets returns those of the
// account and the caller that it names, or nil.
func verifyVirtualToken(token string, now time.Time, secrets func(account, caller virtualID) *virtualSecrets) (*virtualClaims, error) {
	encoded, ok := strings.CutPrefix(token, virtualTokenPrefix)
	if !ok || len(encoded) != base64.RawURLEncoding.EncodedLen(virtualTokenPayload+sha256.Size) {
		return nil, errVirtualTokenForged
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	// Line breaks are skipped in decoding, so the length says something only now.
	if err != nil || len(b) != virtualTokenPayload+sha256.Size {
		return nil, errVirtualTokenForged
	}
	payload := b[:virtualTokenPayload]
	c := &virtualClaims{
		account:   virtualID(payload),
		caller:    virtualID(payload[len(virtualID{}):]),
		expiresAt: time.Unix(int64(binary.BigEndian.Uint64(payload[2*len(virtualID{}):])), 0),
	}
	s := secrets(c.account, c.caller)
	if s == nil || !hmac.Equal(b[virtualTokenPayload:], s.mac(payload)) {
		return nil, errVirtualTokenForged
	}
	if !now.Before(c.expiresAt) {
		return nil, errVirtualTokenExpired
	}
	return c, nil
}
