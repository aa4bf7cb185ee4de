// Package bootca is the certificate authority that gild's agents trust.
package bootca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Stored is a CA as the state keeps it.
type Stored struct {
	Certificate string `json:"certificate"` // PEM
	Key         string `json:"key"`         // PEM, PKCS #8: secret
}

// CA signs for the servers of one state. Its certificate travels in the
// initramfs. Its key stays in the state, so all servers of a cluster, and one
// that was restored from a backup, are trusted by agents that run already.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	text []byte
}

// The dates of everything that is signed here. A machine without a battery
// thinks that it is 1970, one with a broken clock that it is 2046, and neither
// has another clock before it has spoken to the server. The end is the date
// that stands for none (RFC 5280, 4.1.2.5).
var (
	begin = time.Unix(0, 0).UTC()
	end   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// New makes a CA with a key of its own.
func New() (Stored, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Stored{}, fmt.Errorf("making the boot CA: %w", err)
	}
	tpl := template()
	// A random name tells two CAs apart in what a client says of them.
	tpl.Subject = pkix.Name{Organization: []string{"gild"}, CommonName: "gild boot CA " + rand.Text()[:8]}
	tpl.IsCA, tpl.BasicConstraintsValid, tpl.MaxPathLenZero = true, true, true
	tpl.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		return Stored{}, fmt.Errorf("making the boot CA: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Stored{}, fmt.Errorf("making the boot CA: %w", err)
	}
	return Stored{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: typeCert, Bytes: der})),
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: secret})),
	}, nil
}

const (
	typeCert = "CERTIFICATE"
	typeKey  = "PRIVATE KEY"
)

// template is what certificates of the CA have in common.
func template() *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // crypto/rand does not fail
	serial[0] &= 0x7f        // positive, and at most 20 bytes (RFC 5280, 4.1.2.2)
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), NotBefore: begin, NotAfter: end,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// Open reads a CA from the state. One whose key is not the certificate's, or
// that is no CA, is an error.
func (s Stored) Open() (*CA, error) {
	der, err := decode(typeCert, s.Certificate)
	if err != nil {
		return nil, err
	}
	ca := &CA{text: []byte(s.Certificate)}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("the boot CA's certificate: %w", err)
	}
	if der, err = decode(typeKey, s.Key); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the boot CA's key: %w", err)
	}
	var isECDSA bool
	if ca.key, isECDSA = key.(*ecdsa.PrivateKey); !isECDSA || !ca.cert.IsCA || !ca.key.PublicKey.Equal(ca.cert.PublicKey) {
		return nil, errors.New("the boot CA's key and certificate do not belong together")
	}
	return ca, nil
}

func decode(kind, text string) ([]byte, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("the boot CA is stored without a %s in PEM", kind)
	}
	return block.Bytes, nil
}

// PEM is the CA's certificate, which is no secret.
func (c *CA) PEM() []byte { return c.text }
