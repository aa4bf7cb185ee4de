package redfish

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/gild-dev/gild/internal/power"
)

// Trust is how a BMC is known for the one that it was. Its certificate is
// nearly always its own, so that it is pinned, as SSH does with host keys.
type Trust struct {
	// CA verifies the certificate and the name; nil: it is pinned.
	CA *x509.CertPool
	// Pin is that of the only certificate that is taken; empty: First decides.
	Pin string
	// First is told the pin of a BMC that none is known of, and takes or
	// refuses it; nil: it is taken.
	First func(pin string) error
}

// PinOf is the pin of a certificate: sha256: and its SHA-256 in hexadecimal.
func PinOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// IsPin reports whether a text is a pin.
func IsPin(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	p, err := hex.DecodeString(digits)
	return ok && err == nil && len(p) == sha256.Size && strings.ToLower(digits) == digits
}

func (t Trust) config(host string) *tls.Config {
	if t.CA != nil {
		return &tls.Config{RootCAs: t.CA, ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// What stands in a BMC's certificate means nothing; which one it is, is
		// checked below.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the BMC shows no certificate")
			}
			return t.check(PinOf(s.PeerCertificates[0]))
		},
	}
}

// check compares a pin with the one that is known.
func (t Trust) check(pin string) error {
	switch {
	case pin == t.Pin, t.Pin == "" && t.First == nil:
		return nil
	case t.Pin == "":
		return t.First(pin)
	}
	return &power.Error{
		Kind: power.Untrusted, Op: "connecting to the BMC",
		Err: errors.New("its certificate is " + pin + ", and not the pinned " + t.Pin),
		Help: "somebody may stand between. If the BMC or its certificate was replaced, compare the new one on the BMC itself, then: gild " +
			"machine edit NAME --power-pin " + pin,
	}
}
