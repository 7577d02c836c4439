package weixin

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/caddy-weixin/caddy-weixin/internal/wechat"
)

var sealCredentials = wechat.Credentials{AppID: "wx0123456789abcdef", AppSecret: "0123456789abcdef0123456789abcdef"}

func mustSeal(t testing.TB, plaintext []byte) []byte {
	t.Helper()
	sealed, err := seal(sealCredentials, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealRoundTrip(t *testing.T) {
	for _, plaintext := range [][]byte{nil, {0}, []byte(`{"access_token":"TOKEN"}`), bytes.Repeat([]byte("long "), 10_000)} {
		got, err := unseal(sealCredentials, mustSeal(t, plaintext))
		if err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%d bytes: got %d bytes, %v", len(plaintext), len(got), err)
		}
	}
}

func TestSealHidesAndVaries(t *testing.T) {
	plaintext := []byte("TOKEN-TOKEN-TOKEN-TOKEN-TOKEN-TOKEN")
	nonces := make(map[string]bool)
	const n = 1_000
	for range n {
		sealed := mustSeal(t, plaintext)
		for _, visible := range []string{"TOKEN", sealCredentials.AppSecret, sealCredentials.AppID} {
			if bytes.Contains(sealed, []byte(visible)) {
				t.Fatalf("%q can be read in %q", visible, sealed)
			}
		}
		nonces[string(sealed[len(sealVersion):][:12])] = true
	}
	if len(nonces) != n {
		t.Errorf("%d nonces for %d values", len(nonces), n)
	}
}

func TestUnsealRefuses(t *testing.T) {
	plaintext := []byte(`{"generation":1,"access_token":"TOKEN"}`)
	sealed := mustSeal(t, plaintext)
	refused := func(t *testing.T, cred wechat.Credentials, value []byte) {
		t.Helper()
		if got, err := unseal(cred, value); !errors.Is(err, errUnsealable) || got != nil {
			t.Errorf("unseal(%q) = %q, %v", value, got, err)
		}
	}
	for _, cred := range []wechat.Credentials{
		{},
		{AppID: sealCredentials.AppID},
		{AppSecret: sealCredentials.AppSecret},
		{AppID: sealCredentials.AppID, AppSecret: sealCredentials.AppSecret + "0"},
		{AppID: sealCredentials.AppID, AppSecret: "1" + sealCredentials.AppSecret[1:]},
		{AppID: sealCredentials.AppID + "0", AppSecret: sealCredentials.AppSecret},
		{AppID: "wxfedcba9876543210", AppSecret: sealCredentials.AppSecret},
		// The border between the two counts as well.
		{AppID: sealCredentials.AppID + sealCredentials.AppSecret[:1], AppSecret: sealCredentials.AppSecret[1:]},
	} {
		refused(t, cred, sealed)
	}
	for bit := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused(t, sealCredentials, flipped)
	}
	for n := range sealed {
		refused(t, sealCredentials, sealed[:n])
		refused(t, sealCredentials, sealed[n+1:])
	}
	refused(t, sealCredentials, nil)
	refused(t, sealCredentials, plaintext)
	refused(t, sealCredentials, append(bytes.Clone(sealed), 0))
	refused(t, sealCredentials, slices.Concat(sealed, sealed))

	// Ciphertext and nonce of two values do not go together.
	other := mustSeal(t, plaintext)
	refused(t, sealCredentials, slices.Concat(sealed[:len(sealVersion)+12], other[len(sealVersion)+12:]))
}

// Authentication alone would pass a value that another account has sealed, if
// both had the same AppSecret, as accounts made from a template may.
func TestUnsealMovedToAnotherAccount(t *testing.T) {
	moved := wechat.Credentials{AppID: "wxffffffffffffffff", AppSecret: sealCredentials.AppSecret}
	if _, err := unseal(moved, mustSeal(t, []byte("x"))); !errors.Is(err, errUnsealable) {
		t.Errorf("unseal = %v, want %v", err, errUnsealable)
	}
}

// The store belongs to others: nothing in it may do more than be refused.
func FuzzUnseal(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(sealVersion))
	f.Add([]byte(sealVersion + "0123456789ab"))
	f.Add([]byte(sealVersion + "0123456789ab0123456789abcdef"))
	f.Add([]byte(`{"generation":1,"access_token":"T"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := unseal(sealCredentials, data); err == nil {
			t.Fatalf("forged: %q opens as %q", data, got)
		}
		sealed := mustSeal(t, data)
		if got, err := unseal(sealCredentials, sealed); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("unseal(seal(%q)) = %q, %v", data, got, err)
		}
	})
}
