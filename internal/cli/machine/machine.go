// Package machine is the commands that list, describe or forget machines.
package machine

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
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
	var o term.ListOptions
	cmd := &cobra.Command{
		Use: "ls", Short: "list the machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runLs(cmd.Context(), selector, o) },
	}
	flags.Selector(cmd, &selector)
	flags.List(cmd, &o)
	return cmd
}

func (a commands) runLs(ctx context.Context, selector string, o term.ListOptions) error {
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, err := op.Machines(ctx, selector)
	if err != nil {
		return a.Reached(err)
	}
	list := machineList(machines, time.Now())
	if a.Output == term.OutputWide || o.Sort != "" {
		applied, err := op.Fleet().Applied(ctx)
		if err != nil {
			return a.Reached(err)
		}
		list.Columns = slices.Insert(list.Columns, 3, groupColumns(applied.Groups)...)
	}
	return term.PrintList(&a.Console, list, o)
}

// groupColumns say which groups a machine is in, and what a flash that names no
// image would write.
func groupColumns(groups []api.Group) []term.Column[api.Machine] {
	return []term.Column[api.Machine]{
		{Header: "DEFAULT", Wide: true, Text: func(m *api.Machine) string {
			f, _, err := specs.Resolve(m.Spec, groups, api.FlashRequest{})
			if err != nil {
				return "(groups differ)"
			}
			return term.OrDash(term.Printable(f.Image))
		}},
		{Header: "GROUP", Wide: true, Text: func(m *api.Machine) string {
			var in []string
			for _, g := range groups {
				if specs.InGroup(m.Spec, g) {
					in = append(in, g.Name)
				}
			}
			return term.OrDash(strings.Join(in, ","))
		}},
	}
}

// machineList is the room as a list.
func machineList(machines []api.Machine, now time.Time) term.List[api.Machine] {
	return term.List[api.Machine]{Items: machines, Columns: []term.Column[api.Machine]{
		{Header: "MACHINE", Text: phrase.Name},
		{Header: "STATE", Text: phrase.Doing, Style: phrase.StateStyle, Compare: func(a, b *api.Machine) int {
			return cmp.Or(strings.Compare(a.State, b.State), a.Since.Compare(b.Since))
		}},
		{Header: "IMAGE", Text: imageOf},
		{Header: "LABELS", Soft: true, Text: func(m *api.Machine) string { return term.OrDash(term.Pairs(m.Spec.Labels)) }},
		{
			Header: "SEEN", Text: func(m *api.Machine) string { return term.Ago(now, m.LastSeen) },
			Compare: func(a, b *api.Machine) int { return b.LastSeen.Compare(a.LastSeen) },
		},
		{
			Header: "SINCE", Wide: true, Text: func(m *api.Machine) string { return term.Ago(now, m.Since) },
			Compare: func(a, b *api.Machine) int { return b.Since.Compare(a.Since) },
		},
		{Header: "ADDRESS", Wide: true, Text: func(m *api.Machine) string { return term.OrDash(m.Address) }, Compare: byAddress},
		{Header: "MAC", Wide: true, Text: func(m *api.Machine) string { return term.OrDash(m.MAC) }},
		{Header: "SERIAL", Wide: true, Text: serialOf},
		{Header: "LAST", Text: phrase.Last},
	}}
}

// imageOf is what a machine is to have, or has.
func imageOf(m *api.Machine) string {
	switch {
	case m.Armed != nil:
		return term.Printable(m.Armed.Plan.Image.Name)
	case m.System != nil:
		return term.Printable(m.System.Name)
	}
	return "-"
}

// serialOf is what the operator says of it, else what it has told.
func serialOf(m *api.Machine) string {
	serial := m.Spec.Serial
	if serial == "" && m.Inventory != nil {
		serial = m.Inventory.Serial
	}
	return term.OrDash(term.Printable(serial))
}

// byAddress orders by number: 10.0.0.9 comes before 10.0.0.10.
func byAddress(a, b *api.Machine) int {
	x, _ := netip.ParseAddr(a.Address)
	y, _ := netip.ParseAddr(b.Address)
	return x.Compare(y)
}
