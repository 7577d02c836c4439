package sandbox

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"time"
)

// certificate is one that answers are signed with. Its number is not its serial
// number, as WeChat's is not.
type certificate struct {
	number string
	pem    []byte
	key    *rsa.PrivateKey
}

// certificatePair is the platform's certificate, and the one that it replaces
// while both are in use, nil at other times.
type certificatePair struct {
	current, deprecated *certificate
}

const certificateBits = 2048

func newCertificate() (*certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, certificateBits)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "WeChat sandbox"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	number := make([]byte, 16)
	_, _ = rand.Read(number) // never fails
	return &certificate{
		number: hex.EncodeToString(number),
		pem:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:    key,
	}, nil
}

// certificates returns the pair that answers are signed with now.
func (s *Server) certificates() certificatePair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.platformCertificates
}

func (p certificatePair) sign(header http.Header, text []byte) {
	header.Set("Wechatmp-Serial", p.current.number)
	header.Set("Wechatmp-Signature", base64.StdEncoding.EncodeToString(signPSS(p.current.key, text)))
	if p.deprecated != nil {
		header.Set("Wechatmp-Serial-Deprecated", p.deprecated.number)
		header.Set("Wechatmp-Signature-Deprecated", base64.StdEncoding.EncodeToString(signPSS(p.deprecated.key, text)))
	}
}

var errNoCertificate = errors.New("no account has api_security: write it in an account's block")

// controlCertificate hands out the certificate, and its number in a header.
func (s *Server) controlCertificate(w http.ResponseWriter, _ *http.Request) {
	pair := s.certificates()
	if pair.current == nil {
		controlError(w, http.StatusNotFound, errNoCertificate)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/x-pem-file")
	header.Set("Cache-Control", "no-store")
	header.Set("Wechatmp-Serial", pair.current.number)
	_, _ = w.Write(pair.current.pem)
}

// controlRotateCertificate begins to use another certificate. Answers are
// signed with the old one as well, unless ?deprecated=false says that it is
// over.
func (s *Server) controlRotateCertificate(w http.ResponseWriter, r *http.Request) {
	keep := true
	if value := r.URL.Query().Get("deprecated"); value != "" {
		var err error
		if keep, err = strconv.ParseBool(value); err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("deprecated is %q: write true or false", value))
			return
		}
	}
	next, err := newCertificate()
	if err != nil {
		controlError(w, http.StatusInternalServerError, err)
		return
	}
	s.controlLocked(w, func() (any, *controlRefusal) {
		pair := &s.platformCertificates
		if pair.current == nil {
			return nil, &controlRefusal{http.StatusNotFound, errNoCertificate}
		}
		pair.current, pair.deprecated = next, pair.current
		answer := object{"number": next.number}
		if keep {
			answer["deprecated"] = pair.deprecated.number
		} else {
			pair.deprecated = nil
		}
		return answer, nil
	})
}
