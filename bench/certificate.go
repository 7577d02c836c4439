package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificates are those of the upstream, made for one run.
type certificates struct {
	authority, certificate, key string // files: the root, the chain without it, and its key
	pool                        *x509.CertPool
}

// upstreamName is for nginx, which compares certificates with names only.
const upstreamName = "wechat.test"

// newCertificates makes a chain like that of api.weixin.qq.com: a root, an
// authority below it, and a certificate for the addresses, with RSA all the way
// (https://developers.weixin.qq.com/community/develop/article/doc/0002025ca6c3a8c4d7d1afbaf6b013).
// Another kind of key would make handshakes cheaper than they are.
func newCertificates(dir string, addresses ...net.IP) (*certificates, error) {
	root, err := newIssuer("caddy-weixin bench root", nil)
	if err != nil {
		return nil, err
	}
	authority, err := newIssuer("caddy-weixin bench authority", root)
	if err != nil {
		return nil, err
	}
	leaf := unsigned("upstream")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.IPAddresses = addresses
	leaf.DNSNames = []string{upstreamName}
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority.certificate, key.Public(), authority.key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c := &certificates{
		authority:   filepath.Join(dir, "authority.pem"),
		certificate: filepath.Join(dir, "certificate.pem"),
		key:         filepath.Join(dir, "key.pem"),
		pool:        x509.NewCertPool(),
	}
	rootPEM := certificatePEM(root.der)
	c.pool.AppendCertsFromPEM(rootPEM)
	for file, data := range map[string][]byte{
		c.authority:   rootPEM,
		c.certificate: append(certificatePEM(leafDER), certificatePEM(authority.der)...),
		c.key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

const keyBits = 2048

// issuer signs certificates.
type issuer struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
	der         []byte
}

// newIssuer makes an issuer, which signs itself where there is no parent.
func newIssuer(name string, parent *issuer) (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	i := &issuer{certificate: unsigned(name), key: key}
	i.certificate.IsCA = true
	i.certificate.BasicConstraintsValid = true
	i.certificate.KeyUsage = x509.KeyUsageCertSign
	if parent == nil {
		parent = i
	}
	i.der, err = x509.CreateCertificate(rand.Reader, i.certificate, parent.certificate, key.Public(), parent.key)
	return i, err
}

// unsigned returns what all the certificates have in common.
func unsigned(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(0, 0, 7),
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
