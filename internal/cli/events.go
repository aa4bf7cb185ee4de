package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

// eventsOptions are the flags of gild events.
type eventsOptions struct {
	follow  bool
	machine string
	limit   int
	audit   bool
}

func (a *app) eventsCmd() *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "show what happened, and what happens",
		Long: `Show the newest events, the oldest of them first. With --follow go on with those
that happen, through restarts of the server, none twice. With --json each is
one line.

Times are the server's. What machines tell takes at most half of what is shown
where operators and the server did as much; with --audit it is left out. What
operators did, and the receipts, cannot be crowded out by what machines tell, and
outlive 'gild machine rm'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runEvents(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on until interrupted")
	f.StringVar(&o.machine, "machine", "", "events of one `machine` only")
	f.BoolVar(&o.audit, "audit", false, "only what operators and the server did, and the receipts of flashes")
	f.IntVarP(&o.limit, "lines", "n", 50, "how many past events to show")
	return cmd
}

// logLength is how much of the past is asked for to go on without a gap.
const logLength = 1000

func (a *app) runEvents(ctx context.Context, o eventsOptions) error {
	if o.limit < 0 || o.limit > logLength {
		return exit.Usage(fmt.Errorf("--lines %d is not 0 to %d", o.limit, logLength))
	}
	op, err := a.operator()
	if err != nil {
		return err
	}
	t := &tail{limit: o.limit, audit: o.audit, names: map[string]string{}, print: a.printEvent}
	if o.machine != "" {
		m, err := op.Machine(ctx, o.machine)
		if err != nil {
			return a.reached(err)
		}
		t.machine = m.ID
		t.names[m.ID] = m.Spec.Name
	}
	if !o.follow {
		past, err := t.past(ctx, op)
		if err != nil {
			return a.reached(err)
		}
		return t.show(past)
	}
	op.Cut = func(error) { fmt.Fprintln(a.Stderr, "gild: the server is gone; waiting for it") }
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
		return exit.Hint(err, "`gild events` shows the newest again")
	}
	return a.reached(err)
}

// catchUp shows what the log has and the stream has not told.
func (a *app) catchUp(ctx context.Context, op *client.Operator, t *tail) error {
	past, err := t.past(ctx, op)
	if err != nil {
		if _, refused := errors.AsType[*client.ProblemError](err); refused || !t.began {
			return err
		}
		return nil // gone again already: the next message finds out
	}
	t.behind = false
	if t.gap(past) {
		fmt.Fprintln(a.Stderr, "gild: more happened in between than the log gives; some events are missing here")
	}
	return t.show(past)
}

// printEvent prints one event as a line.
func (a *app) printEvent(e api.LogEntry) error {
	if a.JSON {
		return json.NewEncoder(a.Stdout).Encode(e)
	}
	name := e.Name
	if name == "" {
		name = term.OrDash(e.Machine)
	}
	_, err := fmt.Fprintf(a.Stdout, "%s  %-17s  %s\n", term.Time(e.Event.Time), term.Printable(name), eventText(&e.Event))
	return err
}

// eventText is an event in one line of words.
func eventText(e *api.Event) string {
	words := []string{e.Step, e.State}
	if e.To != "" {
		words = append(words, "-> "+e.To)
	}
	if e.Cause != "" {
		words = append(words, e.Cause+":")
	}
	words = append(words, e.Message)
	if e.Actor != "" && e.Actor != api.ActorAgent {
		words = append(words, "("+e.Actor+")")
	}
	return term.Printable(strings.Join(strings.Fields(strings.Join(words, " ")), " "))
}

// tail shows every event once, whether it comes by the log or by the stream:
// a stream that was cut in a transaction tells all of it again, and after a
// reset the log tells what was shown before.
type tail struct {
	machine string // ID; empty: all
	audit   bool   // only what operators and the server did, and receipts
	limit   int    // events of the past at first
	print   func(api.LogEntry) error
	names   map[string]string // by ID
	seen    map[eventKey]bool
	order   []eventKey // of seen, oldest first
	began   bool
	behind  bool // the log is to be asked
}

// eventKey tells events apart: one machine does no two things that are the
// same in all of this.
type eventKey struct {
	machine         string
	seq, number     uint64
	time            int64
	step, state, to string
}

func keyOf(e *api.LogEntry) eventKey {
	return eventKey{e.Machine, e.Event.Seq, e.Event.Number, e.Event.Time.UnixNano(), e.Event.Step, e.Event.State, e.Event.To}
}

// maxSeen bounds what is remembered: several times what a log can tell again.
const maxSeen = 8 * logLength

// note remembers an event and reports whether it is new. How far a flash is
// passes by; it is nothing that happened.
func (t *tail) note(e *api.LogEntry) bool {
	if e.Event.State == api.StateProgress {
		return false
	}
	k := keyOf(e)
	if t.seen[k] {
		return false
	}
	if t.seen == nil {
		t.seen = map[eventKey]bool{}
	}
	t.seen[k] = true
	t.order = append(t.order, k)
	if len(t.order) > maxSeen {
		delete(t.seen, t.order[0])
		t.order = t.order[1:]
	}
	return true
}

// past asks for the newest events, oldest first.
func (t *tail) past(ctx context.Context, op *client.Operator) ([]api.LogEntry, error) {
	if t.machine != "" {
		events, err := op.Events(ctx, t.machine)
		var entries []api.LogEntry
		for _, e := range events {
			if !t.audit || e.Audited() {
				entries = append(entries, api.LogEntry{Machine: t.machine, Name: t.names[t.machine], Event: e})
			}
		}
		return entries, err
	}
	entries, err := op.Log(ctx, logLength, t.audit)
	for i, j := 0, len(entries)-1; i < j; i, j = i+1, j-1 {
		entries[i], entries[j] = entries[j], entries[i]
	}
	return entries, err
}

// gap reports whether nothing of the past was shown before, though something
// was: of what machines told, or of the rest, each of which fills half of it.
func (t *tail) gap(past []api.LogEntry) bool {
	if !t.began || len(t.order) == 0 || len(past) < logLength {
		return false
	}
	count, seen := map[bool]int{}, map[bool]bool{}
	for i := range past {
		audited := past[i].Event.Audited()
		count[audited]++
		seen[audited] = seen[audited] || t.seen[keyOf(&past[i])]
	}
	for audited, n := range count {
		if n >= logLength/2 && !seen[audited] {
			return true
		}
	}
	return false
}

// show prints what is new of the past: at first its end only.
func (t *tail) show(past []api.LogEntry) error {
	skip := 0
	if !t.began {
		skip = max(0, len(past)-t.limit)
		t.began = true
	}
	for i := range past {
		if fresh := t.note(&past[i]); !fresh || i < skip {
			continue
		}
		if err := t.print(past[i]); err != nil {
			return err
		}
	}
	return nil
}

// change takes one message of the stream.
func (t *tail) change(c api.Change) error {
	switch {
	case c.Kind == api.ChangeMachine && c.Machine != nil:
		t.names[c.ID] = c.Machine.Spec.Name
	case c.Kind == api.ChangeRemoved:
		delete(t.names, c.ID)
	case c.Kind == api.ChangeEvent && c.Event != nil:
		e := api.LogEntry{Machine: c.ID, Name: t.names[c.ID], Event: *c.Event}
		if t.machine != "" && t.machine != c.ID || t.audit && !c.Event.Audited() || !t.note(&e) {
			return nil
		}
		return t.print(e)
	}
	return nil
}

func (a *app) serversCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "servers",
		Short: "list the servers of this cluster that are alive",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op, err := a.operator()
			if err != nil {
				return err
			}
			servers, err := op.Servers(cmd.Context())
			if err != nil {
				return a.reached(err)
			}
			if a.JSON {
				return a.PrintJSON(term.NonNil(servers))
			}
			var rows [][]string
			for _, s := range servers {
				rows = append(rows, []string{term.Printable(s.Name), term.Printable(s.BaseURL), term.Printable(s.Version), term.Ago(time.Now(), s.Since)})
			}
			a.PrintTable("SERVER | MACHINES BOOT FROM | VERSION | STARTED", rows)
			for _, s := range servers {
				for _, alarm := range s.Alarms {
					fmt.Fprintf(a.Stdout, "%s, for %s: %s\n", term.Printable(s.Name), strings.TrimSuffix(term.Ago(time.Now(), alarm.Since), " ago"), term.Printable(alarm.Text))
				}
			}
			return nil
		},
	}
}
