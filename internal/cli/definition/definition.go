// Package definition is the commands about what files define by name.
package definition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// group is one group with how many machines are in it.
type group struct {
	api.Group
	Machines int `json:"machines"`
}

// identity is one identity: what it holds may be secret.
type identity struct {
	Name string `json:"name"`
}

// GroupCommand is `gild group`.
func GroupCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "list and remove the groups of machines"}
	ls := lsCmd(a, "list the groups", func(ctx context.Context, op *operatorclient.Client, o term.ListOptions) error {
		return listGroups(ctx, a, op, o)
	})
	cmd.AddCommand(ls, rmCmd(a, removal{
		kind: api.KindGroup, complete: complete.Groups(a), remove: operatorclient.Fleet.RemoveGroup,
		long: `Remove groups. One that machines are in is not removed, except with --force:
what is armed stays as it is, later arms lack what the group says.

A file that still defines the group makes it anew at the next gild apply.`,
	}))
	return cmd
}

// IdentityCommand is `gild identity`; about is what an identity is.
func IdentityCommand(a *app.App, about string) *cobra.Command {
	cmd := &cobra.Command{Use: "identity", Short: "list and remove identities; how to give each machine its own", Long: about}
	const short = "list the identities, which may hold secrets, by name"
	ls := lsCmd(a, short, func(ctx context.Context, op *operatorclient.Client, o term.ListOptions) error {
		return listIdentities(ctx, a, op, o)
	})
	cmd.AddCommand(ls, rmCmd(a, removal{
		kind: api.KindIdentity, complete: complete.Identities(a), remove: operatorclient.Fleet.RemoveIdentity,
		long: `Remove identities. One that a machine, a group or an arm names is not removed,
except with --force: what is armed keeps its identity, nothing new can be armed
with it.

A file that still defines the identity makes it anew at the next gild apply.`,
	}))
	return cmd
}

func lsCmd(a *app.App, short string, list func(ctx context.Context, op *operatorclient.Client, o term.ListOptions) error) *cobra.Command {
	var o term.ListOptions
	cmd := &cobra.Command{
		Use: "ls", Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, err := a.Operator()
			if err != nil {
				return err
			}
			return list(cmd.Context(), op, o)
		},
	}
	flags.List(cmd, &o)
	return cmd
}

func listGroups(ctx context.Context, a *app.App, op *operatorclient.Client, o term.ListOptions) error {
	applied, err := op.Fleet().Applied(ctx)
	if err != nil {
		return a.Reached(err)
	}
	machines, err := op.Machines(ctx, "")
	if err != nil {
		return a.Reached(err)
	}
	groups := make([]group, len(applied.Groups))
	for i, g := range applied.Groups {
		groups[i].Group = g
		for _, m := range machines {
			if specs.InGroup(m.Spec, g) {
				groups[i].Machines++
			}
		}
	}
	return term.PrintList(&a.Console, term.List[group]{Items: groups, Columns: []term.Column[group]{
		{Header: "NAME", Text: func(g *group) string { return g.Name }},
		{Header: "SELECTOR", Soft: true, Text: func(g *group) string { return term.Printable(g.Selector) }},
		{
			Header: "MACHINES", Text: func(g *group) string { return strconv.Itoa(g.Machines) },
			Compare: func(a, b *group) int { return a.Machines - b.Machines },
		},
		{Header: "IMAGE", Text: func(g *group) string { return term.OrDash(term.Printable(g.Flash.Image)) }},
		{Header: "IDENTITY", Text: func(g *group) string { return term.OrDash(term.Printable(g.Flash.Identity)) }},
	}}, o)
}

func listIdentities(ctx context.Context, a *app.App, op *operatorclient.Client, o term.ListOptions) error {
	applied, err := op.Fleet().Applied(ctx)
	if err != nil {
		return a.Reached(err)
	}
	identities := make([]identity, len(applied.Identities))
	for i, name := range applied.Identities {
		identities[i] = identity{name}
	}
	return term.PrintList(&a.Console, term.List[identity]{Items: identities, Columns: []term.Column[identity]{
		{Header: "NAME", Text: func(i *identity) string { return i.Name }},
	}}, o)
}

// removal is how things of one kind are removed.
type removal struct {
	kind, long string
	complete   cobra.CompletionFunc
	remove     func(f operatorclient.Fleet, ctx context.Context, name string, force bool) (api.Removed, error)
}

// rmOptions are the flags of the commands that remove.
type rmOptions struct{ force, yes bool }

func rmCmd(a *app.App, r removal) *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "rm NAME...",
		Short: "remove by name what nothing needs",
		Long:  r.long + "\n\nOn a terminal it asks first.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.run(cmd.Context(), a, slices.Compact(slices.Sorted(slices.Values(args))), o)
		},
		ValidArgsFunction: r.complete,
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "even while something names it")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

// run removes one after the other. One that cannot be removed does not keep the
// others.
func (r removal) run(ctx context.Context, a *app.App, names []string, o rmOptions) error {
	op, err := a.Operator()
	if err != nil {
		return err
	}
	if !o.yes && a.Interactive() {
		for _, name := range names {
			fmt.Fprintf(a.Stderr, "%s %s\n", r.kind, term.Printable(name))
		}
		if !a.Agreed(ctx, len(names), "They will be gone from the server.", "remove them") {
			return exit.Refused(errors.New("not confirmed; nothing was removed"))
		}
	}
	removed := []api.Removed{}
	var failed []error
	for _, name := range names {
		gone, err := r.remove(op.Fleet(), ctx, name, o.force)
		if err != nil {
			failed = append(failed, a.Reached(err))
			continue
		}
		removed = append(removed, gone)
		if !a.JSON {
			printRemoved(a, gone)
		}
	}
	if a.JSON {
		failed = append(failed, a.PrintJSON(removed))
	}
	return pick.Joined(failed)
}

func printRemoved(a *app.App, gone api.Removed) {
	fmt.Fprintf(a.Stdout, "%s %s removed\n", gone.Kind, gone.Name)
	for _, u := range gone.Uses {
		fmt.Fprintf(a.Stdout, "  %s\n", term.Printable(u.String()))
	}
}
