package cli

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
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

const watchLong = `Show how flashes go: on a terminal a bar a machine and a line of sums, else a
line at each change and every ten seconds. Without names all machines are shown
that are armed or under way. The time left is that of the phase: write, then
read back.

It ends when all have ended: with exit code 0 if every machine that was under
way runs its new system, else with 1.`

// watchOptions are the flags of gild watch.
type watchOptions struct {
	selector string
	follow   bool
}

func (a *app) watchCmd() *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:   "watch [MACHINE...]",
		Short: "show how flashes go, a bar a machine",
		Long:  watchLong,
		RunE:  func(cmd *cobra.Command, names []string) error { return a.runWatch(cmd.Context(), names, o) },
	}
	selectorFlag(cmd, &o.selector)
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "stay when all have ended")
	return cmd
}

// view shows a room to somebody.
type view interface {
	// changed tells of one machine that a person wants to hear of.
	changed(w *watched)
	// tick is called once a second.
	tick(r *room, now time.Time)
	// note says something that is not about a machine.
	note(text string)
	// done shows the end.
	done(r *room)
}

func (a *app) runWatch(ctx context.Context, names []string, o watchOptions) error {
	op, err := a.operator()
	if err != nil {
		return err
	}
	var ids []string
	if len(names) > 0 || o.selector != "" {
		machines, err := a.targets(ctx, op, names, o.selector)
		if err != nil {
			return err
		}
		for _, m := range machines {
			ids = append(ids, m.ID)
		}
	}
	r := newRoom(ids)
	v := a.newView()
	err = watch(ctx, op, r, v, o.follow)
	v.done(r)
	switch {
	case errors.Is(err, context.Canceled):
		return exit.Hint(err, "the flashes go on; `gild watch` shows them again")
	case err != nil:
		return a.reached(err)
	}
	return r.verdict()
}

// verdict is an error for every machine that did not end as it should, with
// what to do: once for all that failed for the same cause.
func (r *room) verdict() error {
	var errs []error
	var advice []string
	for _, w := range r.sorted() {
		if bad := w.bad(); bad != "" {
			text := display(&w.Machine) + " " + bad
			if last := lastText(&w.Machine); last != "" && !w.gone {
				text += ": " + last
			}
			errs = append(errs, errors.New(text))
			if todo := api.Advice(w.Cause, ""); todo != "" && !w.gone && !slices.Contains(advice, w.Cause+": "+todo) {
				advice = append(advice, w.Cause+": "+todo)
			}
		}
	}
	err := errors.Join(errs...)
	if len(advice) == 0 {
		return err
	}
	return exit.Hint(err, strings.Join(advice, "\n      "))
}

func (a *app) newView() view {
	switch {
	case a.JSON:
		return &jsonView{enc: json.NewEncoder(a.Stdout)}
	case term.IsTerminal(a.Stdout):
		return newBars(a.Stdout, a.Palette(a.Stdout))
	}
	return &lines{out: a.Stdout, now: time.Now}
}

// watch keeps the room as the stream tells until all have ended. Everything
// happens in its own goroutine but the reading.
func watch(ctx context.Context, op *client.Operator, r *room, v view, stay bool) error {
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
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-cut:
			v.note("the server is gone; waiting for it")
		case now := <-second.C:
			v.tick(r, now)
		case c := <-changes:
			if err := take(ctx, op, r, v, c); err != nil {
				return err
			}
			// Only a whole list says that all have ended: the first message
			// brings it.
			if !stay && r.ended() {
				return nil
			}
		}
	}
}

// take lets one message change the room.
func take(ctx context.Context, op *client.Operator, r *room, v view, c api.Change) error {
	switch {
	case c.Kind == api.ChangeReset:
		// The machines follow one by one, without a word which is the last;
		// those that are gone would be waited for.
		list, err := op.Machines(ctx, "")
		if _, refused := errors.AsType[*client.ProblemError](err); refused || len(r.machines) == 0 && err != nil {
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

// sumEvery is how often lines tell how far everything is.
const sumEvery = 10 * time.Second

// sumClock says when it is time again.
type sumClock struct{ last time.Time }

// due is true every sumEvery, from the first call on.
func (c *sumClock) due(now time.Time) bool {
	if c.last.IsZero() {
		c.last = now
	}
	if now.Sub(c.last) < sumEvery {
		return false
	}
	c.last = now
	return true
}

// eachFlashing calls do for every machine that is being flashed.
func (r *room) eachFlashing(do func(*watched)) {
	for _, w := range r.sorted() {
		if w.State == api.MachineFlashing && !w.gone {
			do(w)
		}
	}
}

// lines shows a room where there is no terminal.
type lines struct {
	out interface{ Write(p []byte) (int, error) }
	now func() time.Time
	sumClock
}

func (l *lines) print(name, text string) {
	fmt.Fprintf(l.out, "%s  %-17s  %s\n", l.now().Local().Format(time.TimeOnly), name, text)
}

func (l *lines) changed(w *watched) { l.print(display(&w.Machine), w.sentence()) }

func (l *lines) tick(r *room, now time.Time) {
	if !l.due(now) {
		return
	}
	r.eachFlashing(l.changed)
	l.print("all", r.totals().sumLine())
}

func (l *lines) note(text string) { l.print("all", text) }
func (l *lines) done(r *room)     { l.print("all", r.totals().sumLine()) }

// sentence is how a machine is, in words.
func (w *watched) sentence() string {
	if w.gone {
		return "forgotten"
	}
	text := stateText(&w.Machine)
	if (w.State == api.MachineFlashing || w.Live) && w.Progress != nil && w.Progress.Total > 0 {
		text += ": " + progressText(w.Progress)
		if left, ok := timeLeft(&w.Machine); ok {
			text += fmt.Sprintf(", %s, %s left", term.Rate(w.Progress.Rate), term.Clock(left))
		}
		if w.Conflict == "" {
			return text
		}
	}
	if last := lastText(&w.Machine); last != "" {
		text += ": " + last
	}
	return text
}

// jsonView prints a line of JSON at each change and for each flash every ten
// seconds.
type jsonView struct {
	enc *json.Encoder
	sumClock
}

// watchLine is what scripts learn of a machine.
type watchLine struct {
	ID       string        `json:"id"`
	Name     string        `json:"name,omitempty"`
	State    string        `json:"state"` // or "forgotten"
	Progress *api.Progress `json:"progress,omitempty"`
	Stuck    time.Time     `json:"stuck,omitzero"`
	Conflict string        `json:"conflict,omitempty"`
	Cause    string        `json:"cause,omitempty"`
	Message  string        `json:"message,omitempty"`
	Ended    bool          `json:"ended"`
}

func (j *jsonView) changed(w *watched) {
	state := w.State
	if w.gone {
		state = "forgotten"
	}
	// A reader that is gone ends the process by SIGPIPE.
	_ = j.enc.Encode(watchLine{w.ID, w.Spec.Name, state, w.Progress, w.Stuck, w.Conflict, w.Cause, w.Message, w.ended()})
}

func (j *jsonView) tick(r *room, now time.Time) {
	if j.due(now) {
		r.eachFlashing(j.changed)
	}
}

func (j *jsonView) note(string) {}
func (j *jsonView) done(*room)  {}
