package login

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

// dialWithin bounds the look at a server's certificate.
const dialWithin = 15 * time.Second

// trusted finds what a server is verified with, in PEM form; empty: what the
// system trusts is enough. Where a fingerprint was given, the certificate has
// to have it, whoever vouches for it; one that nobody here vouches for is shown
// to a person.
func (c command) trusted(ctx context.Context, base *url.URL, fingerprint string) (ca string, err error) {
	leaf, known, err := c.certificate(ctx, base)
	if err != nil || known && fingerprint == "" {
		return "", err
	}
	sum := sha256.Sum256(leaf.Raw)
	is := hex.EncodeToString(sum[:])
	if err := leaf.VerifyHostname(base.Hostname()); err != nil {
		return "", exit.Denied(exit.Hint(fmt.Errorf("the certificate of %s is for another name: %w", base.Host, err),
			"log in by a name that it is for"))
	}
	switch {
	case fingerprint != "" && plain(fingerprint) != is:
		return "", exit.Denied(fmt.Errorf("the certificate of %s has the fingerprint %s, not %.100s", base.Host, spaced(is), fingerprint))
	case fingerprint == "" && !c.Interactive():
		return "", exit.Denied(exit.Hint(
			fmt.Errorf("nothing here vouches for the certificate of %s; its fingerprint is %s", base.Host, spaced(is)),
			"compare it with `openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE` on the server, then give --fingerprint, or the "+
				"certificate of who signed it with --ca FILE"))
	case fingerprint == "":
		fmt.Fprintf(c.Stderr, "Nothing here vouches for the certificate of %s.\n", term.Printable(base.Host))
		fmt.Fprintf(c.Stderr, "subject      %s\nvalid until  %s\nSHA-256      %s\n", term.Printable(leaf.Subject.String()),
			leaf.NotAfter.Format(time.DateOnly), spaced(is))
		if !c.Agreed(ctx, 1, "On the server, `openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE` prints it.", "trust it from now on") {
			return "", exit.Refused(errors.New("not confirmed; no login was kept"))
		}
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})), nil
}

// certificate is that of a server; known says that the system trusts it.
func (c command) certificate(ctx context.Context, base *url.URL) (leaf *x509.Certificate, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	host := base.Host
	if base.Port() == "" {
		host = net.JoinHostPort(base.Hostname(), "443")
	}
	look := func(config *tls.Config) error {
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", host)
		if err != nil {
			return err
		}
		defer conn.Close()
		leaf = conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		return nil
	}
	err = look(&tls.Config{MinVersion: tls.VersionTLS12})
	if err == nil {
		return leaf, true, nil
	}
	if _, unverified := errors.AsType[*tls.CertificateVerificationError](err); !unverified {
		return nil, false, c.Reached(&url.Error{Op: "Get", URL: c.URL, Err: err})
	}
	// To be shown, and compared by a person: nothing is sent over it.
	err = look(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}) //nolint:gosec // see above
	return leaf, false, err
}

// plain is a fingerprint as it may be copied: with colons, spaces or capitals.
func plain(fingerprint string) string {
	_, after, found := strings.Cut(strings.ToLower(fingerprint), "=") // openssl's "sha256 Fingerprint="
	if !found {
		after = strings.ToLower(fingerprint)
	}
	return strings.NewReplacer(":", "", " ", "", "\n", "").Replace(after)
}

// spaced is a fingerprint as openssl prints it.
func spaced(hexDigits string) string {
	var b strings.Builder
	for i := 0; i < len(hexDigits); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hexDigits[i : i+2]))
	}
	return b.String()
}
