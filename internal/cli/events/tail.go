package events

import (
	"context"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
)

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
	if !e.Event.Happened() {
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
func (t *tail) past(ctx context.Context, op *operatorclient.Client) ([]api.LogEntry, error) {
	if t.machine != "" {
		events, err := op.Events(ctx, t.machine)
		var entries []api.LogEntry
		for _, e := range events {
			if e.Happened() && (!t.audit || e.Audited()) {
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
