// Package token is the commands about the admin token.
package token

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/etcd"
	"github.com/gild-dev/gild/internal/server"
)

const newLong = `Make a new admin token and print it. It cannot be shown again.

The old token and all sessions are revoked immediately. Run this on the server
itself, as root or as the user that gild serve runs as, whether gild serve is
running or not; or from anywhere with --etcd.`

// Command is `gild token`: about the token that the operator API asks for off
// loopback.
func Command(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "the admin token of the operator API and the dashboard"}
	var cluster etcd.Options
	replace := &cobra.Command{
		Use:   "new",
		Short: "make a new admin token; revokes the old token and all sessions",
		Long:  newLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Cluster(a.EtcdPassword)
			if err != nil {
				return err
			}
			token, err := server.State{DataDir: a.Data, Etcd: c, Prefix: cluster.Prefix}.NewToken(cmd.Context())
			if err != nil {
				return err
			}
			if a.JSON {
				return a.PrintJSON(struct {
					Token string `json:"token"`
				}{token})
			}
			fmt.Fprintln(a.Stdout, token)
			return nil
		},
	}
	cluster.Register(replace.Flags())
	cmd.AddCommand(replace)
	return cmd
}
