package serve

import (
	"crypto/tls"
	"errors"
	"fmt"

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
