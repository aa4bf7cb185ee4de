package cli

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/server"
)

const tokenNewLong = `Make a new admin token and show it, once.

The old token and every login end at once. The token is made in the server's
state: with --etcd at any time, otherwise on the server's own machine while
gild serve is stopped.`

// tokenCmd is about the token that the operator API asks for off loopback.
func (a *app) tokenCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "the admin token of the operator API and the dashboard"}
	var etcd etcdOptions
	replace := &cobra.Command{
		Use:   "new",
		Short: "make a new admin token; the old one and every login end",
		Long:  tokenNewLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := etcd.cluster()
			if err != nil {
				return err
			}
			s := server.Server{DataDir: a.data, Etcd: cluster, Prefix: etcd.prefix}
			token, err := s.NewToken(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Stdout, token)
			return nil
		},
	}
	etcd.flags(replace.Flags())
	cmd.AddCommand(replace)
	return cmd
}

// certificate reads what the operator API shows by TLS; nil: plain HTTP.
func (o serveOptions) certificate() (*tls.Config, error) {
	if o.cert == "" && o.key == "" {
		return nil, nil
	}
	if o.cert == "" || o.key == "" {
		return nil, usageError{errors.New("--operator-cert and --operator-key belong together")}
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the operator API: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}
