package serve

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
)

// ServersCommand is `gild servers`.
func ServersCommand(a *app.App) *cobra.Command {
	var o term.ListOptions
	cmd := &cobra.Command{
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
			if err := term.PrintList(&a.Console, serverList(servers), o); err != nil || a.JSON || o.Quiet || a.Output == term.OutputName {
				return err
			}
			for _, s := range servers {
				for _, alarm := range s.Alarms {
					fmt.Fprintf(a.Stdout, "%s, for %s: %s\n", term.Printable(s.Name), strings.TrimSuffix(term.Ago(time.Now(), alarm.Since), " ago"),
						term.Printable(alarm.Text))
				}
			}
			return nil
		},
	}
	flags.List(cmd, &o)
	return cmd
}

func serverList(servers []api.Server) term.List[api.Server] {
	return term.List[api.Server]{Items: servers, Columns: []term.Column[api.Server]{
		{Header: "SERVER", Text: func(s *api.Server) string { return term.Printable(s.Name) }},
		{Header: "URL", Text: func(s *api.Server) string { return term.Printable(s.BaseURL) }},
		{Header: "VERSION", Text: func(s *api.Server) string { return term.Printable(s.Version) }},
		{
			Header: "STARTED", Text: func(s *api.Server) string { return term.Ago(time.Now(), s.Since) },
			Compare: func(a, b *api.Server) int { return b.Since.Compare(a.Since) },
		},
	}}
}
