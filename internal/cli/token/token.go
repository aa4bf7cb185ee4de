// Package token is the commands about the admin token.
package token

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/etcd"
	"github.com/gild-dev/gild/internal/server"
)

const newLong = `Make a new admin token and show it, once.

The old token and every login end at once. It is made on the server's own
machine, by the user that gild serve runs as or by root, whether gild serve
runs or not; or from anywhere with --etcd.`

// Command is `gild token`: about the token that the operator API asks for off loopback.
func Command(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "the admin token of the operator API and the dashboard"}
	var cluster etcd.Options
	replace := &cobra.Command{
		Use:   "new",
		Short: "make a new admin token; the old one and every login end",
		Long:  newLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Cluster(a.EtcdPassword)
			if err != nil {
				return err
			}
			s := server.Server{DataDir: a.Data, Etcd: c, Prefix: cluster.Prefix}
			token, err := s.NewToken(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Stdout, token)
			return nil
		},
	}
	cluster.Register(replace.Flags())
	cmd.AddCommand(replace)
	return cmd
}
