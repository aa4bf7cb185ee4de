// Package machine is the commands that list, describe or forget machines.
package machine

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild machine`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "list, describe and forget machines",
		Long: `List, describe and forget the machines of a running server. MACHINE is a name, a
MAC address, an SMBIOS UUID or a serial number.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.lsCmd(), a.showCmd(), a.addCmd(), a.editCmd(), a.rmCmd())
	return cmd
}

func (a commands) lsCmd() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use: "ls", Short: "list the machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runLs(cmd.Context(), selector) },
	}
	flags.Selector(cmd, &selector)
	return cmd
}

func (a commands) runLs(ctx context.Context, selector string) error {
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, err := op.Machines(ctx, selector)
	if err != nil {
		return a.Reached(err)
	}
	if a.JSON {
		return a.PrintJSON(machines)
	}
	a.Table(a.Stdout, machineTable(machines, time.Now()))
	return nil
}

// machineTable is the room as a list.
func machineTable(machines []api.Machine, now time.Time) term.Table {
	t := term.Table{Header: []string{"MACHINE", "STATE", "IMAGE", "LABELS", "SEEN", "LAST"}, Soft: 3}
	for i := range machines {
		m := &machines[i]
		image := "-"
		switch {
		case m.Armed != nil:
			image = term.Printable(m.Armed.Plan.Image.Name)
		case m.System != nil:
			image = term.Printable(m.System.Name)
		}
		t.Rows = append(t.Rows, []string{
			phrase.Name(m), phrase.Doing(m), image,
			term.OrDash(term.Pairs(m.Spec.Labels)), term.Ago(now, m.LastSeen), phrase.Last(m),
		})
	}
	t.Paint = func(row, col int) term.Style {
		if col == 1 {
			return phrase.StateStyle(&machines[row])
		}
		return term.Plain
	}
	return t
}
