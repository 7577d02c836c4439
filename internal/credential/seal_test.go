package credential

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

var sealID = ID{Identity: "wx0123456789abcdef", Upstream: "https://api.example", Secret: "0123456789abcdef0123456789abcdef"}

func unsealAs(id ID, sealed []byte) ([]byte, error) { return sealerOf(&id).unseal(sealed) }

func mustSeal(t testing.TB, plaintext []byte) []byte {
	t.Helper()
	sealed, err := sealerOf(&sealID).seal(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestSealRoundTrip(t *testing.T) {
	for _, plaintext := range [][]byte{nil, {0}, []byte(`{"access_token":"TOKEN"}`), bytes.Repeat([]byte("long "), 10_000)} {
		got, err := unsealAs(sealID, mustSeal(t, plaintext))
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
		for _, visible := range []string{"TOKEN", sealID.Secret, sealID.Identity} {
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
	refused := func(t *testing.T, cred ID, value []byte) {
		t.Helper()
		if got, err := unsealAs(cred, value); !errors.Is(err, errUnsealable) || got != nil {
			t.Errorf("unseal(%q) = %q, %v", value, got, err)
		}
	}
	for _, cred := range []ID{
		{},
		{Identity: sealID.Identity},
		{Identity: sealID.Identity, Upstream: sealID.Upstream + "/", Secret: sealID.Secret},
		{Identity: sealID.Identity, Upstream: "https://api.example.com", Secret: sealID.Secret},
		{Secret: sealID.Secret},
		{Identity: sealID.Identity, Upstream: sealID.Upstream, Secret: sealID.Secret + "0"},
		{Identity: sealID.Identity, Secret: "1" + sealID.Secret[1:]},
		{Identity: sealID.Identity + "0", Secret: sealID.Secret},
		{Identity: "wxfedcba9876543210", Secret: sealID.Secret},
		// The border between the two counts as well.
		{Identity: sealID.Identity + sealID.Secret[:1], Secret: sealID.Secret[1:]},
	} {
		refused(t, cred, sealed)
	}
	for bit := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused(t, sealID, flipped)
	}
	for n := range sealed {
		refused(t, sealID, sealed[:n])
		refused(t, sealID, sealed[n+1:])
	}
	refused(t, sealID, nil)
	refused(t, sealID, plaintext)
	refused(t, sealID, append(bytes.Clone(sealed), 0))
	refused(t, sealID, slices.Concat(sealed, sealed))

	// Ciphertext and nonce of two values do not go together.
	other := mustSeal(t, plaintext)
	refused(t, sealID, slices.Concat(sealed[:len(sealVersion)+12], other[len(sealVersion)+12:]))
}

// Authentication alone would pass a value that another account has sealed, if
// both had the same AppSecret, as accounts made from a template may.
func TestUnsealMovedToAnotherAccount(t *testing.T) {
	moved := ID{Identity: "wxffffffffffffffff", Secret: sealID.Secret}
	if _, err := unsealAs(moved, mustSeal(t, []byte("x"))); !errors.Is(err, errUnsealable) {
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
		if got, err := unsealAs(sealID, data); err == nil {
			t.Fatalf("forged: %q opens as %q", data, got)
		}
		sealed := mustSeal(t, data)
		if got, err := unsealAs(sealID, sealed); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("unseal(seal(%q)) = %q, %v", data, got, err)
		}
	})
}
