package flash

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
)

// CancelCommand is `gild cancel`.
func CancelCommand(with *app.App) *cobra.Command {
	a := commands{with}
	var selector string
	var force bool
	cmd := &cobra.Command{
		Use:   "cancel MACHINE...",
		Short: "disarm machines",
		Long: `Disarm machines: revoke a pending flash. This works until the first write to the
disk. After that a flash is better left to finish, so the request is refused. A
machine that has not booted since it was armed is left as it was before.

--force stops a flash that is writing: the agent learns of it with its next
message, within ten seconds. The disk does not boot until it is flashed again. A
system that was started before its disk was complete loses what is missing.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runCancel(cmd.Context(), names, selector, force)
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	flags.Selector(cmd, &selector)
	flags.Force(cmd, &force)
	return cmd
}

func (a commands) runCancel(ctx context.Context, names []string, selector string, force bool) error {
	if err := pick.Check(names, selector); err != nil {
		return err
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, err := pick.Machines(ctx, a.App, op, names, selector)
	if err != nil && len(machines) == 0 {
		return err
	}
	if selector != "" { // of a rack those are meant that are armed
		armed := machines[:0]
		for _, m := range machines {
			if m.Armed != nil {
				armed = append(armed, m)
			}
		}
		machines = armed
	}
	wasArmed := map[string]bool{}
	for i := range machines {
		wasArmed[machines[i].ID] = machines[i].Armed != nil
	}
	cancelled := make([]api.Machine, len(machines))
	errs := pick.Each(machines, func(i int, m api.Machine) error {
		var err error
		cancelled[i], err = op.Cancel(ctx, m.ID, force)
		return a.Reached(pick.Of(phrase.Name(&m), err))
	})
	done := []api.Machine{}
	for i, m := range cancelled {
		if errs[i] == nil {
			done = append(done, m)
		}
	}
	errs = append(errs, err)
	if a.JSON {
		return errors.Join(a.PrintJSON(done), pick.Joined(errs))
	}
	for _, m := range done {
		fmt.Fprintf(a.Stdout, "%s %s\n", phrase.Name(&m), map[bool]string{true: "disarmed", false: "was not armed"}[wasArmed[m.ID]])
		if force && m.Message != "" { // what it did to the disk
			fmt.Fprintf(a.Stdout, "  %s\n", term.Printable(m.Message))
		}
	}
	if len(machines) == 0 && err == nil {
		fmt.Fprintln(a.Stderr, "none of these machines is armed")
	}
	return pick.Joined(errs)
}
