// Package complete suggests what could stand in a place of the command line.
package complete

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/settings"
)

// completeWithin bounds what a press of the tab key waits for a server.
const completeWithin = 2 * time.Second

// suggest gives what could stand in a place of the command line. Whoever
// presses tab has not asked for error messages: what cannot be found out is
// not suggested.
type suggest func(ctx context.Context, op *operatorclient.Client) []string

// Flags hooks suggestions into a command's flags, by their names.
func Flags(a *app.App, cmd *cobra.Command) {
	for flag, s := range map[string]suggest{"selector": selectors, "identity": identities, "machine": machineNames, "image": imageNames} {
		hook(cmd, flag, ask(a, s, true))
	}
	hook(cmd, "disk", func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		return ask(a, func(ctx context.Context, op *operatorclient.Client) []string { return diskRules(ctx, op, args) }, true)(cmd, nil, word)
	})
	for _, f := range settings.Fields {
		if len(f.Allowed) > 0 {
			hook(cmd, f.Flag, fixed(f.Allowed...))
		}
	}
	hook(cmd, "dhcp", fixed("auto", "server", "proxy", "off"))
}

func hook(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if cmd.LocalNonPersistentFlags().Lookup(flag) != nil {
		_ = cmd.RegisterFlagCompletionFunc(flag, f) // it fails for what is hooked already
	}
}

func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// Machine suggests the name of one machine, Machines those of several.
func Machine(a *app.App) cobra.CompletionFunc { return ask(a, machineNames, false) }

// Machines suggests names of machines.
func Machines(a *app.App) cobra.CompletionFunc { return ask(a, machineNames, true) }

// Groups suggests names of groups.
func Groups(a *app.App) cobra.CompletionFunc { return ask(a, groups, true) }

// Identities suggests names of identities.
func Identities(a *app.App) cobra.CompletionFunc { return ask(a, ownIdentities, true) }

// Images suggests images for arguments of which the first most are: those of
// the server that is named, else those of the data directory.
func Images(a *app.App, most int) cobra.CompletionFunc {
	there, here := ask(a, imageNames, true), Stored(a)
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if a.Current(cmd.Flags().Changed("data")) == nil && a.URL != "" {
			return there(cmd, args, word)
		}
		names, directive := here(cmd, nil, word)
		return slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args, n) }), directive
	}
}

// Stored suggests the images of the local store for the first argument, files
// for the others.
func Stored(a *app.App) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		st, err := a.OpenStore()
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		named, _ := st.List()
		var names []string
		for _, n := range named {
			names = append(names, n.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// ask asks the server. many allows more than one argument.
func ask(a *app.App, s suggest, many bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 && !many {
			return nil, directive
		}
		if a.Current(cmd.Flags().Changed("data")) != nil {
			return nil, directive
		}
		op, err := a.Operator()
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var words []string
		for _, w := range s(ctx, op) {
			if !slices.Contains(args, w) && safeWord(w) {
				words = append(words, w)
			}
		}
		return words, directive
	}
}

// safeWord keeps what a machine says of itself from meaning something to a
// shell, or from being taken for a flag.
func safeWord(w string) bool {
	foreign := func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("-._:/=@+", r)
	}
	return w != "" && w[0] != '-' && !strings.ContainsFunc(w, foreign)
}

func machineNames(ctx context.Context, op *operatorclient.Client) []string {
	machines, _ := op.Machines(ctx, "")
	var names []string
	for i := range machines {
		names = append(names, phrase.Name(&machines[i]))
	}
	return names
}

func imageNames(ctx context.Context, op *operatorclient.Client) []string {
	images, _ := op.Images().List(ctx)
	return namesOf(images)
}

func namesOf(images []api.Image) []string {
	var names []string
	for _, im := range images {
		names = append(names, im.Name)
	}
	return names
}

// diskRules are rules for the disks of the machines that are named, else for
// those of all: what names one disk, of several machines what suits many.
func diskRules(ctx context.Context, op *operatorclient.Client, names []string) []string {
	machines, _ := op.Machines(ctx, "")
	rules := map[string]bool{"smallest": true, "largest": true}
	for i := range machines {
		m := &machines[i]
		if m.Inventory == nil || len(names) > 0 && !slices.Contains(names, phrase.Name(m)) {
			continue
		}
		for _, d := range m.Inventory.Disks {
			for term, value := range map[string]string{"serial": d.Serial, "wwn": d.WWN, "name": d.Name, "transport": d.Transport} {
				if one := term == "serial" || term == "wwn"; value != "" && (!one || len(names) == 1) {
					rules[term+"="+value] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(rules))
}

// identities are what a machine can have: none, too.
func identities(ctx context.Context, op *operatorclient.Client) []string {
	return append(ownIdentities(ctx, op), "none")
}

func ownIdentities(ctx context.Context, op *operatorclient.Client) []string {
	applied, _ := op.Fleet().Applied(ctx)
	return applied.Identities
}

func groups(ctx context.Context, op *operatorclient.Client) (names []string) {
	applied, _ := op.Fleet().Applied(ctx)
	for _, g := range applied.Groups {
		names = append(names, g.Name)
	}
	return names
}

// selectors are the labels that there are, each as a selector.
func selectors(ctx context.Context, op *operatorclient.Client) []string {
	machines, _ := op.Machines(ctx, "")
	terms := map[string]bool{}
	for _, m := range machines {
		for k, v := range m.Spec.Labels {
			terms[k+"="+v] = true
		}
	}
	return slices.Sorted(maps.Keys(terms))
}
