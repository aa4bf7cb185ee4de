package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// certificate reads what the operator API shows by TLS; nil: plain HTTP.
func (o options) certificate() (*tls.Config, error) {
	if o.Cert == "" && o.Key == "" {
		return nil, nil
	}
	if o.Cert == "" || o.Key == "" {
		return nil, exit.Usage(errors.New("--operator-cert and --operator-key must be given together"))
	}
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the operator API: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

// bmcCA reads the certificates that sign for BMCs; nil: theirs are pinned.
func (o options) bmcCA() (*x509.CertPool, error) {
	if o.BMCCA == "" {
		return nil, nil
	}
	text, err := app.ReadSmall(o.BMCCA, maxCA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA of the BMCs: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, exit.Input(fmt.Errorf("--bmc-ca: %s holds no certificate in PEM", o.BMCCA))
	}
	return pool, nil
}

// maxCA bounds the file of a CA in bytes.
const maxCA = 1 << 20
