package gateway

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/caddy-weixin/caddy-weixin/internal/account"
	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

// A virtual token stands for an account's access_token in applications. It is
// worth something to this proxy alone, and to those that share its
// configuration: who holds one can use the account through the proxy, as the
// caller it was issued to, until it expires.
//
// It is stateless. After a prefix come, in base64url, the account, the caller,
// the expiry, a nonce and an HMAC-SHA256 over these and the caller's key, under
// a key derived from the AppSecret. So it ends with either. Before the HMAC, the
// token of an account that has authorised a platform has the account's AppID; the
// account that it names, and the key, are the platform's.
const (
	virtualTokenLifetime = 7200 * time.Second // what SDKs expect
	virtualTokenFixed    = 2*len(account.VirtualID{}) + 8 + 8
	shortestVirtualToken = virtualTokenFixed + sha256.Size
	longestVirtualToken  = shortestVirtualToken + wechat.MaxAppID
)

// Errors of verifyVirtualToken.
var (
	errVirtualTokenForged  = errors.New("it was not issued by this proxy, or its account's or caller's secret has changed")
	errVirtualTokenExpired = errors.New("ask the proxy for another")
)

// virtualClaims is what a virtual token says.
type virtualClaims struct {
	account   account.VirtualID
	caller    account.VirtualID
	expiresAt time.Time
	appID     string // of an account that has authorised the platform
}

// virtualSecrets are what a virtual token is signed with.
type virtualSecrets struct {
	accountKey []byte
	callerKey  [sha256.Size]byte // the digest of the caller's key; zeros where there are no callers
}

// sign returns a token with these claims.
func (c *virtualClaims) sign(s *virtualSecrets) string {
	b := make([]byte, 0, longestVirtualToken)
	b = append(b, c.account[:]...)
	b = append(b, c.caller[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.expiresAt.Unix()))
	b = b[:virtualTokenFixed]
	rand.Read(b[virtualTokenFixed-8:])
	b = append(b, c.appID...)
	return account.VirtualTokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...))
}

func (s *virtualSecrets) mac(payload []byte) []byte {
	h := hmac.New(sha256.New, s.accountKey)
	h.Write(payload)
	h.Write(s.callerKey[:])
	return h.Sum(nil)
}

// verifyVirtualToken returns what a token says. secrets returns those of the
// account and the caller that it names, or nil.
func verifyVirtualToken(token string, now time.Time, secrets func(of, caller account.VirtualID) *virtualSecrets) (*virtualClaims, error) {
	c, payload, mac := readVirtualToken(token)
	if c == nil {
		return nil, errVirtualTokenForged
	}
	s := secrets(c.account, c.caller)
	if s == nil || !hmac.Equal(mac, s.mac(payload)) {
		return nil, errVirtualTokenForged
	}
	if !now.Before(c.expiresAt) {
		return nil, errVirtualTokenExpired
	}
	return c, nil
}

// readVirtualToken returns what a token says, which may be forged, and nil where
// it has not the form of one.
func readVirtualToken(token string) (c *virtualClaims, payload, mac []byte) {
	encoded, ok := strings.CutPrefix(token, account.VirtualTokenPrefix)
	encoding := base64.RawURLEncoding.Strict()
	if !ok || len(encoded) < encoding.EncodedLen(shortestVirtualToken) || len(encoded) > encoding.EncodedLen(longestVirtualToken) {
		return nil, nil, nil
	}
	b, err := encoding.DecodeString(encoded)
	// Line breaks are skipped in decoding, so the length says something only now.
	if err != nil || len(b) < shortestVirtualToken || encoding.EncodedLen(len(b)) != len(encoded) {
		return nil, nil, nil
	}
	payload, mac = b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	return &virtualClaims{
		account:   account.VirtualID(payload),
		caller:    account.VirtualID(payload[len(account.VirtualID{}):]),
		expiresAt: time.Unix(int64(binary.BigEndian.Uint64(payload[2*len(account.VirtualID{}):])), 0),
		appID:     string(payload[virtualTokenFixed:]),
	}, payload, mac
}
