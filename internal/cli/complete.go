package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// completeWithin bounds what a press of the tab key waits for a server.
const completeWithin = 2 * time.Second

// suggest gives what could stand in a place of the command line. Whoever
// presses tab has not asked for error messages: what cannot be found out is
// not suggested.
type suggest func(ctx context.Context, op *client.Operator) []string

// complete hooks suggestions into the commands and flags that take names.
func (a *app) complete(root *cobra.Command) {
	for _, path := range []string{"machine show", "machine edit", "machine rm", "flash", "cancel", "watch"} {
		if cmd, _, err := root.Find(strings.Fields(path)); err == nil {
			many := path != "machine show"
			cmd.ValidArgsFunction = a.completion(machineNames, many)
		}
	}
	for _, path := range []string{"image show", "image rm", "image verify", "image export", "image push", "initramfs", "write"} {
		if cmd, rest, err := root.Find(strings.Fields(path)); err == nil && len(rest) == 0 && cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = a.storedImages
		}
	}
	for _, cmd := range allCommands(root) {
		for flag, s := range map[string]suggest{"selector": selectors, "identity": identities, "machine": machineNames} {
			a.completeFlag(cmd, flag, a.completion(s, true))
		}
		a.completeFlag(cmd, "image", a.completion(imageNames, true))
		a.completeFlag(cmd, "read-back", fixed("full", "sample", "off"))
		a.completeFlag(cmd, "handoff", fixed(api.HandoffNames()...))
		a.completeFlag(cmd, "dhcp", fixed("auto", "server", "proxy", "off"))
	}
}

func (a *app) completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if cmd.LocalNonPersistentFlags().Lookup(flag) == nil {
		return
	}
	if _, taken := cmd.GetFlagCompletionFunc(flag); taken {
		return
	}
	// It fails for flags that do not exist or are hooked already.
	_ = cmd.RegisterFlagCompletionFunc(flag, f)
}

func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// completion asks the server. many allows more than one argument.
func (a *app) completion(s suggest, many bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 && !many {
			return nil, directive
		}
		op, err := a.operator()
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

func machineNames(ctx context.Context, op *client.Operator) []string {
	machines, _ := op.Machines(ctx, "")
	var names []string
	for i := range machines {
		names = append(names, display(&machines[i]))
	}
	return names
}

func imageNames(ctx context.Context, op *client.Operator) []string {
	images, _ := op.Images(ctx)
	return namesOf(images)
}

func namesOf(images []api.Image) []string {
	var names []string
	for _, im := range images {
		names = append(names, im.Name)
	}
	return names
}

func identities(ctx context.Context, op *client.Operator) []string {
	applied, _ := op.Applied(ctx)
	return append(applied.Identities, "none")
}

// selectors are the labels that there are, each as a selector.
func selectors(ctx context.Context, op *client.Operator) []string {
	machines, _ := op.Machines(ctx, "")
	terms := map[string]bool{}
	for _, m := range machines {
		for k, v := range m.Spec.Labels {
			terms[k+"="+v] = true
		}
	}
	return slices.Sorted(maps.Keys(terms))
}

// storedImages gives the images of the local store, and then files.
func (a *app) storedImages(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	st, err := a.openStore()
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
