package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
)

func (a commands) rmCmd() *cobra.Command {
	var force bool
	var selector string
	cmd := &cobra.Command{
		Use:   "rm MACHINE... | -l SELECTOR",
		Short: "forget machines",
		Long: `Forget machines: their records, their reports, and whether they are armed.
Nothing on the machines changes; one that boots from the network again is
discovered anew. Actions of operators and the server, and receipts, are kept in
'gild events --audit'. -l state=discovered forgets all machines that were seen
but never registered.

A machine whose disk is being written is not forgotten, except with --force: its
agent stops when it sends its next message, within ten seconds, and the disk does
not boot until it is flashed again.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			op, err := a.Operator()
			if err != nil {
				return err
			}
			if selector != "" || len(names) == 0 {
				return a.forgetSelected(cmd.Context(), op, names, selector, force)
			}
			return pick.Joined(pick.Each(names, func(_ int, name string) error {
				return a.Reached(pick.Of(name, op.Delete(cmd.Context(), name, force)))
			}))
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	flags.Force(cmd, &force)
	flags.Selector(cmd, &selector)
	return cmd
}

// forgetSelected forgets every machine that a selector picks. One that is gone
// by the time that it is its turn is forgotten as well.
func (a commands) forgetSelected(ctx context.Context, op *client.Operator, names []string, selector string, force bool) error {
	machines, err := pick.Machines(ctx, a.App, op, names, selector)
	if err != nil {
		return err
	}
	var forgotten atomic.Int64
	errs := pick.Each(machines, func(_ int, m api.Machine) error {
		err := op.Delete(ctx, m.ID, force)
		if said, ok := errors.AsType[*client.ProblemError](err); ok && said.Status == http.StatusNotFound {
			return nil
		}
		if err == nil {
			forgotten.Add(1)
		}
		return a.Reached(pick.Of(phrase.Name(&m), err))
	})
	fmt.Fprintf(a.Stdout, "%d machines forgotten\n", forgotten.Load())
	return pick.Joined(errs)
}
