// Package watch shows flashes while they run.
package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

const long = `Show the progress of flashes: on a terminal one bar per machine and a summary,
otherwise a line at each change and every ten seconds. Without names, all
machines that are armed or being flashed are shown. Percent is of the work, data to
write and to read back; the time left is that to the running system, and ~ until
data has moved for ten seconds. At the end a summary says how many there were, how
long all took, which was slowest, and whether link, disk or processor was the brake.

The command ends when no flash is left: with exit code 0 if every machine runs
its new system, otherwise with 1. A machine in trouble is waited for, because its
agent tries again; --fail-fast does not wait for that. --timeout ends the command,
not the flashes.`

// options are the flags of gild watch.
type options struct {
	selector string
	follow   bool
	failFast bool          // end when a machine is in trouble
	timeout  time.Duration // 0: none
}

// Command is `gild watch`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	var o options
	cmd := &cobra.Command{
		Use:               "watch [MACHINE...]",
		Short:             "show flash progress, one bar per machine",
		Long:              long,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.run(cmd.Context(), names, o) },
		ValidArgsFunction: complete.Machines(a.App),
	}
	flags.Selector(cmd, &o.selector)
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "keep running when no flash is left")
	cmd.Flags().BoolVar(&o.failFast, "fail-fast", false, "end at the first machine in trouble, although it tries again")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "end after this time, such as 30m, even if flashes are left")
	return cmd
}

// view shows a board to somebody.
type view interface {
	// changed tells of one machine that a person wants to hear of.
	changed(w *watched)
	// tick is called once a second.
	tick(r *board, now time.Time)
	// note says something that is not about a machine.
	note(text string)
	// done shows the end.
	done(r *board)
}

func (a commands) run(ctx context.Context, names []string, o options) error {
	if o.timeout < 0 {
		return exit.Usage(fmt.Errorf("--timeout %s is in the past", o.timeout))
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	var ids []string
	if len(names) > 0 || o.selector != "" {
		machines, err := pick.Machines(ctx, a.App, op, names, o.selector)
		if err != nil {
			return err
		}
		for _, m := range machines {
			ids = append(ids, m.ID)
		}
	}
	r := newBoard(ids)
	v := a.newView()
	err = watch(ctx, op, r, v, o)
	v.done(r)
	switch {
	case errors.Is(err, errTimeout):
		return errors.Join(r.verdict(o), fmt.Errorf("%w of %s", err, o.timeout))
	case errors.Is(err, context.Canceled):
		return exit.Hint(err, "the flashes continue; run `gild watch` to see them again")
	case err != nil:
		return a.Reached(err)
	}
	return r.verdict(o)
}

// verdict is an error for every machine that did not end as it should, with
// what to do: once for all that failed for the same cause.
func (r *board) verdict(o options) error {
	var errs []error
	var advice []string
	for _, w := range r.sorted() {
		if bad := w.left(o); bad != "" {
			text := phrase.Name(&w.Machine) + " " + bad
			if last := phrase.Last(&w.Machine); last != "" && !w.gone {
				text += ": " + last
			}
			errs = append(errs, errors.New(text))
			why := cause(&w.Machine)
			if todo := api.Advice(why, ""); todo != "" && !w.gone && !slices.Contains(advice, why+": "+todo) {
				advice = append(advice, why+": "+todo)
			}
		}
	}
	err := errors.Join(errs...)
	if len(advice) == 0 {
		return err
	}
	return exit.Hint(err, strings.Join(advice, "\n      "))
}

func (a commands) newView() view {
	switch {
	case a.JSON:
		return &jsonView{enc: json.NewEncoder(a.Stdout)}
	case term.IsTerminal(a.Stdout):
		return newBars(a.Stdout, a.Palette(a.Stdout))
	}
	return &lines{out: a.Stdout, now: time.Now}
}

// errTimeout ends a watch whose machines have not ended.
var errTimeout = errors.New("not all have ended within the timeout")

// watch keeps the board as the stream tells until all have ended. Everything
// happens in its own goroutine but the reading.
func watch(ctx context.Context, op *operatorclient.Client, r *board, v view, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, ended, cut := make(chan api.Change), make(chan error, 1), make(chan struct{}, 1)
	op.Cut = func(error) {
		select {
		case cut <- struct{}{}:
		default:
		}
	}
	go func() {
		ended <- op.Follow(ctx, func(c api.Change) error {
			select {
			case changes <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var late <-chan time.Time
	if o.timeout > 0 {
		timer := time.NewTimer(o.timeout)
		defer timer.Stop()
		late = timer.C
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-cut:
			v.note("connection to the server lost; reconnecting")
		case <-late:
			return errTimeout
		case now := <-second.C:
			r.hush(now)
			v.tick(r, now)
		case c := <-changes:
			if err := take(ctx, op, r, v, c); err != nil {
				return err
			}
			// Only a whole list says that all have ended: the first message
			// brings it.
			if !o.follow && r.ended() || o.failFast && r.troubled() {
				return nil
			}
		}
	}
}

// take lets one message change the board.
func take(ctx context.Context, op *operatorclient.Client, r *board, v view, c api.Change) error {
	switch {
	case c.Kind == api.ChangeReset:
		// The machines follow one by one, without a word which is the last;
		// those that are gone would be waited for.
		list, err := op.Machines(ctx, "")
		if _, refused := errors.AsType[*operatorclient.ProblemError](err); refused || len(r.machines) == 0 && err != nil {
			return err
		}
		if err == nil {
			for _, w := range r.reset(list) {
				v.changed(w)
			}
		}
	case c.Kind == api.ChangeMachine && c.Machine != nil:
		if w, news := r.set(*c.Machine); news {
			v.changed(w)
		}
	case c.Kind == api.ChangeRemoved:
		if w, news := r.remove(c.ID); news {
			v.changed(w)
		}
	}
	return nil
}
