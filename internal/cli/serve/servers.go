package serve

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/term"
)

// ServersCommand is `gild servers`.
func ServersCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "servers",
		Short: "list the running servers of this cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, err := a.Operator()
			if err != nil {
				return err
			}
			servers, err := op.Servers(cmd.Context())
			if err != nil {
				return a.Reached(err)
			}
			if a.JSON {
				return a.PrintJSON(term.NonNil(servers))
			}
			var rows [][]string
			for _, s := range servers {
				rows = append(rows, []string{term.Printable(s.Name), term.Printable(s.BaseURL), term.Printable(s.Version), term.Ago(time.Now(), s.Since)})
			}
			a.PrintTable("SERVER | MACHINES BOOT FROM | VERSION | STARTED", rows)
			for _, s := range servers {
				for _, alarm := range s.Alarms {
					fmt.Fprintf(a.Stdout, "%s, for %s: %s\n", term.Printable(s.Name), strings.TrimSuffix(term.Ago(time.Now(), alarm.Since), " ago"), term.Printable(alarm.Text))
				}
			}
			return nil
		},
	}
}
