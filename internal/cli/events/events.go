// Package events shows what has happened to machines.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

// options are the flags of gild events.
type options struct {
	follow  bool
	machine string
	limit   int
	audit   bool
}

// Command is `gild events`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	var o options
	cmd := &cobra.Command{
		Use:   "events [MACHINE]",
		Short: "show past events and follow new ones",
		Long: `Show the newest events, oldest first. --follow keeps printing new ones, across
restarts of the server, none twice. --json prints one line per event.

Times are the server's. Events reported by machines take up at most half of the
list when operators and the server caused as many; --audit leaves them out.
Actions of operators, and receipts, are never crowded out by what machines
report, and are kept after 'gild machine rm'.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) > 0 {
				if o.machine != "" && o.machine != names[0] {
					return exit.Usage(fmt.Errorf("two machines: %s and --machine %s", names[0], o.machine))
				}
				o.machine = names[0]
			}
			return a.run(cmd.Context(), o)
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "keep printing new events until interrupted")
	f.StringVar(&o.machine, "machine", "", "only events of this `machine`")
	f.BoolVar(&o.audit, "audit", false, "only actions of operators and the server, and receipts of flashes")
	f.IntVarP(&o.limit, "lines", "n", 50, "how many past events to show")
	return cmd
}

// logLength is how much of the past is asked for to continue without a gap.
const logLength = 1000

func (a commands) run(ctx context.Context, o options) error {
	if o.limit < 0 || o.limit > logLength {
		return exit.Usage(fmt.Errorf("--lines %d: want 0 to %d", o.limit, logLength))
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	t := &tail{limit: o.limit, audit: o.audit, names: map[string]string{}, print: a.printEvent}
	if o.machine != "" {
		m, err := op.Machine(ctx, o.machine)
		if err != nil {
			return a.Reached(err)
		}
		t.machine = m.ID
		t.names[m.ID] = m.Spec.Name
	}
	if !o.follow {
		past, err := t.past(ctx, op)
		if err != nil {
			return a.Reached(err)
		}
		return a.Paged(func() error { return t.show(past) })
	}
	op.Cut = func(error) { fmt.Fprintln(a.Stderr, "gild: connection to the server lost; reconnecting") }
	err = op.Follow(ctx, func(c api.Change) error {
		// A reset says that changes may have been missed: the log has them.
		if t.behind = t.behind || c.Kind == api.ChangeReset; t.behind {
			if err := a.catchUp(ctx, op, t); err != nil {
				return err
			}
		}
		return t.change(c)
	})
	if errors.Is(err, context.Canceled) {
		return exit.Hint(err, "run `gild events` to see the newest again")
	}
	return a.Reached(err)
}

// catchUp shows what the log has and the stream has not told.
func (a commands) catchUp(ctx context.Context, op *operatorclient.Client, t *tail) error {
	past, err := t.past(ctx, op)
	if err != nil {
		if _, refused := errors.AsType[*operatorclient.ProblemError](err); refused || !t.began {
			return err
		}
		return nil // gone again already: the next message finds out
	}
	t.behind = false
	if t.gap(past) {
		fmt.Fprintln(a.Stderr, "gild: too much happened meanwhile; some events are missing here")
	}
	return t.show(past)
}

// printEvent prints one event as a line.
func (a commands) printEvent(e api.LogEntry) error {
	if a.JSON {
		return json.NewEncoder(a.Stdout).Encode(e)
	}
	name := e.Name
	if name == "" {
		name = term.OrDash(e.Machine)
	}
	_, err := fmt.Fprintf(a.Stdout, "%s  %-17s  %s\n", term.Time(e.Event.Time), term.Printable(name), phrase.Event(&e.Event))
	return err
}
