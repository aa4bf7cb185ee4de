package machine

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
)

func (a commands) editCmd() *cobra.Command {
	var s specFlags
	var selector string
	cmd := &cobra.Command{
		Use:   "edit MACHINE...",
		Short: "change names, labels and flash defaults of machines",
		Long: `Change machines: their names, labels and defaults for flashes. Only the settings
named by flags are changed; an empty value unsets a setting. The next 'gild
apply' restores what its files say. A machine that somebody else changes at the
same time is left as it is and reported. A machine that has only been seen is
registered, by the address it was seen with unless flags give something else.`,
		Example: `  gild machine edit 52:54:00:12:34:56 --name web-1 --label rack=b7
  gild machine edit -l rack=b7 --image web --label old-`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runEdit(cmd.Context(), names, selector, &s)
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	s.register(cmd, true)
	flags.Selector(cmd, &selector)
	return cmd
}

func (a commands) runEdit(ctx context.Context, names []string, selector string, s *specFlags) error {
	if !s.any(s.forOne) && !s.any(s.forAny) {
		return exit.Usage(exit.Hint(errors.New("nothing to change"), "see `gild machine edit --help`"))
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, err := pick.Machines(ctx, a.App, op, names, selector)
	if err != nil {
		return err
	}
	if len(machines) > 1 && s.any(s.forOne) {
		return exit.Usage(fmt.Errorf("--name, --mac, --uuid and --serial apply to one machine, but %d are selected", len(machines)))
	}
	edited := make([]api.Machine, len(machines))
	errs := pick.Each(machines, func(i int, m api.Machine) error {
		called := phrase.Name(&m) // it may be given another name
		err := s.apply(&m.Spec)
		if err == nil {
			edited[i], err = op.EditRead(ctx, m, m.Spec)
		}
		return a.Reached(pick.Of(called, err))
	})
	var done []api.Machine
	for i, m := range edited {
		if errs[i] == nil {
			done = append(done, m)
		}
	}
	if a.JSON {
		return errors.Join(a.PrintJSON(term.NonNil(done)), pick.Joined(errs))
	}
	for _, m := range done {
		fmt.Fprintf(a.Stdout, "%s changed\n", phrase.Name(&m))
	}
	return pick.Joined(errs)
}
