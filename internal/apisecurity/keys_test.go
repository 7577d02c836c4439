package apisecurity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	own := generate(t)
	pkcs1 := x509.MarshalPKCS1PrivateKey(own)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	// An SM2 key, but for the key itself.
	sm2 := append([]byte{0x30, 0x1d, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}, append(sm2Curve, 0x04, 0x03, 1, 2, 3)...)
	good := func() Config {
		return Config{AppID: "wx1", KeySerial: "sn", Key: testKey, SignKey: toPEM("PRIVATE KEY", pkcs8), Verify: map[string]string{"n": certificate(t, own)}}
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // of the error; "" where it is good
	}{
		{"PKCS#8", func(*Config) {}, ""},
		{"PKCS#1", func(c *Config) { c.SignKey = toPEM("RSA PRIVATE KEY", pkcs1) }, ""},
		{"PKCS#1 under the other's name", func(c *Config) { c.SignKey = toPEM("PRIVATE KEY", pkcs1) }, ""},
		{"no PEM", func(c *Config) { c.SignKey = base64.StdEncoding.EncodeToString(pkcs1) }, ""},
		{"an environment variable's line breaks", func(c *Config) { c.SignKey = strings.ReplaceAll(c.SignKey, "\n", `\n`) }, ""},
		{"CRLF", func(c *Config) { c.SignKey = strings.ReplaceAll(c.SignKey, "\n", "\r\n") }, ""},
		{"a public key", func(c *Config) { c.Verify["n"] = toPEM("PUBLIC KEY", pkix) }, ""},
		{"a PKCS#1 public key", func(c *Config) {
			c.Verify["n"] = toPEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&own.PublicKey))
		}, ""},
		{"line break after the key", func(c *Config) { c.Key += "\n" }, ""},
		{"key that is none", func(c *Config) { c.Key = "hidden" }, "32 bytes"},
		{"key of another length", func(c *Config) { c.Key = "aGlkZGVu" }, "32 bytes"},
		{"SM4", func(c *Config) { c.Key = "AAAAAAAAAAAAAAAAAAAAAA==" }, "AES256_GCM and RSAwithSHA256"},
		{"no number of the key", func(c *Config) { c.KeySerial = "" }, "key <sn>"},
		{"no certificate", func(c *Config) { c.Verify = nil }, "verify <number>"},
		{"no number of the certificate", func(c *Config) { c.Verify = map[string]string{"": c.Verify["n"]} }, "verify <number>"},
		{"no private key", func(c *Config) { c.SignKey = "" }, "PKCS#1 or PKCS#8"},
		{"private key that is none", func(c *Config) { c.SignKey = toPEM("PRIVATE KEY", []byte("hidden")) }, "PKCS#1 or PKCS#8"},
		{"certificate as private key", func(c *Config) { c.SignKey = c.Verify["n"] }, "PKCS#1 or PKCS#8"},
		{"password", func(c *Config) { c.SignKey = toPEM("ENCRYPTED PRIVATE KEY", pkcs8) }, "without one"},
		{"elliptic curve", func(c *Config) { c.SignKey = toPEM("PRIVATE KEY", ec8) }, "RSAwithSHA256"},
		{"SM2", func(c *Config) { c.SignKey = toPEM("PRIVATE KEY", sm2) }, "SM2"},
		{"SM2, to verify", func(c *Config) { c.Verify["n"] = toPEM("CERTIFICATE", sm2) }, "SM2"},
		{"private key to verify", func(c *Config) { c.Verify["n"] = toPEM("RSA PRIVATE KEY", pkcs1) }, "platform's certificate"},
		{"certificate that is none", func(c *Config) { c.Verify["n"] = "hidden" }, "neither"},
	} {
		config := good()
		c.change(&config)
		k, err := NewKeys(config)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if text := fmt.Sprintf("%v %+v %#v", k, k, k); text != "wx1 wx1 wx1" {
				t.Errorf("keys print as %s", text)
			}
			continue
		}
		if keyErr, ok := errors.AsType[*KeyError](err); !ok || !strings.Contains(keyErr.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestStripHeader(t *testing.T) {
	h := http.Header{"Wechatmp-Signature": {"x"}, "Wechatmp-Serial-Deprecated": {"x"}, "Content-Type": {"x"}}
	if !IsSigned(h) {
		t.Error("it is signed")
	}
	if StripHeader(h); len(h) != 1 || IsSigned(h) {
		t.Errorf("got %v", h)
	}
}
