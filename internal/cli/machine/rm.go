package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
)

func (a commands) rmCmd() *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "rm MACHINE... | -l SELECTOR",
		Short: "forget machines",
		Long: `Forget machines: their records, their reports, and whether they are armed.
Nothing on the machines changes; one that boots from the network again is
discovered anew. Actions of operators and the server, and receipts, are kept in
'gild events --audit'. -l state=discovered forgets all machines that were seen
but never registered.

On a terminal it asks first. A machine that is armed is not forgotten, except with
--force. If its disk is being written, its agent then stops when it sends its next
message, within ten seconds, and the disk does
not boot until it is flashed again.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runRm(cmd.Context(), names, o)
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	flags.Force(cmd, &o.force)
	flags.Selector(cmd, &o.selector)
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

// rmOptions are the flags of gild machine rm.
type rmOptions struct {
	selector   string
	force, yes bool
}

// runRm forgets the machines that are meant. One that is gone by the time that
// it is its turn is forgotten as well.
func (a commands) runRm(ctx context.Context, names []string, o rmOptions) error {
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, unknown := pick.Machines(ctx, a.App, op, names, o.selector)
	if len(machines) == 0 {
		return unknown
	}
	if err := a.agreeToForget(ctx, machines, o); err != nil {
		return err
	}
	forgotten := make([]bool, len(machines))
	errs := pick.Each(machines, func(i int, m api.Machine) error {
		err := op.Delete(ctx, m.ID, o.force)
		if said, ok := errors.AsType[*operatorclient.ProblemError](err); ok && said.Status == http.StatusNotFound {
			return nil
		}
		forgotten[i] = err == nil
		return a.Reached(pick.Of(phrase.Name(&m), err))
	})
	err = a.printForgotten(machines, forgotten, o.selector != "")
	return errors.Join(err, pick.Joined(append(errs, unknown)))
}

// agreeToForget asks a person. More than one machine needs their number.
func (a commands) agreeToForget(ctx context.Context, machines []api.Machine, o rmOptions) error {
	if o.yes || !a.Interactive() {
		return nil
	}
	for i := range machines {
		m := &machines[i]
		fmt.Fprintf(a.Stderr, "%s  %s  %s\n", phrase.Name(m), phrase.State(m), m.ID)
	}
	if !a.Agreed(ctx, len(machines), "Their records and reports will be deleted.", "forget them") {
		return exit.Refused(errors.New("not confirmed; nothing was forgotten"))
	}
	return nil
}

// forgottenMachine is what is printed of one for scripts.
type forgottenMachine struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

func (a commands) printForgotten(machines []api.Machine, forgotten []bool, summed bool) error {
	gone := []forgottenMachine{}
	for i := range machines {
		if !forgotten[i] {
			continue
		}
		gone = append(gone, forgottenMachine{machines[i].ID, machines[i].Spec.Name})
		if !summed && !a.JSON {
			fmt.Fprintf(a.Stdout, "%s forgotten\n", phrase.Name(&machines[i]))
		}
	}
	switch {
	case a.JSON:
		return a.PrintJSON(gone)
	case summed:
		fmt.Fprintf(a.Stdout, "%d machines forgotten\n", len(gone))
	}
	return nil
}
