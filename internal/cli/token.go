package cli

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server"
)

const tokenNewLong = `Make a new admin token and show it, once.

The old token and every login end at once. It is made on the server's own
machine, by the user that gild serve runs as or by root, whether gild serve
runs or not; or from anywhere with --etcd.`

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
		return nil, exit.Usage(errors.New("--operator-cert and --operator-key belong together"))
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the operator API: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}
