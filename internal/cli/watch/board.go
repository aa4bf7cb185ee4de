package watch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/progress"
)

// board is the machines that gild watch looks at, as the stream tells of them.
type board struct {
	ids      map[string]bool // to be watched; nil: every one that is under way
	machines map[string]*watched
}

// watched is one machine and what became of it since it was first seen.
type watched struct {
	api.Machine
	began bool // it was under way since
	gone  bool // the server forgot it
	heard time.Time
	// from is when its agent or its boot began, and to when its system ran, by
	// the server's clock; zero: not seen.
	from, to time.Time
	brakes   map[string]int // how often each was what its flash waited for
}

// newBoard watches the machines with the given IDs; none are all.
func newBoard(ids []string) *board {
	r := &board{machines: map[string]*watched{}}
	for _, id := range ids {
		if r.ids == nil {
			r.ids = map[string]bool{}
		}
		r.ids[id] = true
	}
	return r
}

// underWay reports whether more is to come of the machine by itself.
func underWay(m *api.Machine) bool {
	if m.Live {
		return m.State != api.MachineFailed
	}
	switch m.State {
	case api.MachineArmed, api.MachineBooting, api.MachineFlashing, api.MachineHandingOff:
		return true
	case api.MachineLocalDisk: // sent to the disk that was just flashed
		return m.Awaited != nil
	}
	return false
}

// set takes in how a machine is now and reports whether a person would want
// to be told: it entered another state, or fell silent.
func (r *board) set(m api.Machine) (w *watched, changed bool) {
	old := r.machines[m.ID]
	if old == nil && (r.ids != nil && !r.ids[m.ID] || r.ids == nil && !underWay(&m)) {
		return nil, false
	}
	w = &watched{Machine: m, began: underWay(&m), heard: time.Now()}
	if old != nil {
		w.began, w.from, w.to, w.brakes = w.began || old.began, old.from, old.to, old.brakes
	}
	if m.Estimate != nil && m.Estimate.Brake != "" {
		if w.brakes == nil {
			w.brakes = map[string]int{}
		}
		w.brakes[m.Estimate.Brake]++
	}
	w.clock()
	r.machines[m.ID] = w
	return w, old == nil || still(old.Machine) != still(m) || cause(&old.Machine) != cause(&m)
}

func cause(m *api.Machine) string {
	if m.Trouble == nil {
		return ""
	}
	return m.Trouble.Cause
}

// quietAfter is how long an agent at work is silent at most.
const quietAfter = (api.HeartbeatEvery + 2) * time.Second

// hush takes rates and times away of what has been silent for a while: the
// stream tells of it only when the server gives it up.
func (r *board) hush(now time.Time) {
	for _, w := range r.machines {
		if e := w.Estimate; e != nil && e.Phase != "" && now.Sub(w.heard) > quietAfter {
			w.Estimate = e.Quiet()
		}
	}
}

// still is the state without how far a flash is.
func still(m api.Machine) string {
	m.Progress, m.Estimate = nil, nil
	return phrase.State(&m)
}

// remove notes that the server forgot a machine.
func (r *board) remove(id string) (w *watched, changed bool) {
	w = r.machines[id]
	if w == nil || w.gone {
		return nil, false
	}
	w.gone = true
	return w, true
}

// reset takes a whole list in the place of everything before.
func (r *board) reset(list []api.Machine) (changed []*watched) {
	there := map[string]bool{}
	for _, m := range list {
		there[m.ID] = true
		if w, news := r.set(m); news {
			changed = append(changed, w)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.machines)) {
		if !there[id] {
			if w, news := r.remove(id); news {
				changed = append(changed, w)
			}
		}
	}
	return changed
}

// sorted gives the machines in the order in which they are shown: those that
// do most first.
func (r *board) sorted() []*watched {
	rank := func(w *watched) int {
		switch {
		case w.ended():
			return 5
		case w.State == api.MachineFlashing:
			return 0
		case w.State == api.MachineHandingOff, w.State == api.MachineLocalDisk:
			return 1
		case w.State == api.MachineBooting:
			return 2
		}
		return 3
	}
	return slices.SortedFunc(maps.Values(r.machines), func(a, b *watched) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(phrase.Name(&a.Machine), phrase.Name(&b.Machine)), cmp.Compare(a.ID, b.ID))
	})
}

// ended reports whether nothing more comes of a machine.
func (w *watched) ended() bool { return w.gone || !underWay(&w.Machine) }

// bad says why a machine's end is not the one that was wanted; empty: it is.
func (w *watched) bad() string {
	switch {
	case !w.ended():
		return ""
	case w.gone:
		return "was forgotten"
	case w.State == api.MachineFailed, w.State == api.MachineUnconfirmed:
		return w.State
	case w.began && w.State != api.MachineRunning:
		return "is " + w.State + ": it was not flashed"
	}
	return ""
}

// left says why a machine that a watch does not wait for any longer is not
// well; empty: it is.
func (w *watched) left(o options) string {
	switch {
	case w.ended():
		return w.bad()
	case w.Trouble != nil:
		return "is in trouble"
	case !o.failFast:
		return "has not ended, it is " + phrase.State(&w.Machine)
	}
	return ""
}

// troubled reports whether a machine is in trouble.
func (r *board) troubled() bool {
	for _, w := range r.machines {
		if w.Trouble != nil && !w.gone {
			return true
		}
	}
	return false
}

// ended reports whether all have ended.
func (r *board) ended() bool {
	for _, w := range r.machines {
		if !w.ended() {
			return false
		}
	}
	return true
}

// totals is the board in figures.
type totals struct {
	states map[string]int
	flying int     // flashes of which there are figures
	done   int64   // bytes of data on the disks, of those
	data   int64   // bytes of data that they have in all
	rate   float64 // bytes of data a second
	wire   float64 // bytes a second
	left   int     // seconds until the last is done, where that is known of all; 0: it is not
	until  string
	brakes map[string]int
}

func (r *board) totals() totals {
	t := totals{states: map[string]int{}, brakes: map[string]int{}}
	known := 0
	for _, w := range r.machines {
		state := w.State
		switch {
		case w.gone:
			state = "forgotten"
		case !w.Stuck.IsZero():
			state = "stuck"
		case phrase.InTrouble(&w.Machine):
			state = "in trouble"
		}
		t.states[state]++
		e := w.Estimate
		if e == nil || w.ended() || e.Phase == "" {
			continue
		}
		t.flying++
		t.done, t.data, t.rate, t.wire = t.done+e.DataDone, t.data+e.DataTotal, t.rate+e.Rate, t.wire+e.WireRate
		if e.Brake != "" {
			t.brakes[e.Brake]++
		}
		if e.Left > 0 {
			known++
			if e.Left > t.left {
				t.left, t.until = e.Left, e.Until
			}
		}
	}
	if known < t.flying {
		t.left = 0
	}
	return t
}

// brake is what most of them wait for; empty: not known.
func (t totals) brake() string { return most(t.brakes) }

// most is the brake that was counted most; empty: none was.
func most(brakes map[string]int) string {
	name := ""
	for _, b := range progress.Brakes {
		if brakes[b] > brakes[name] {
			name = b
		}
	}
	return name
}

// order is that of a machine's life, in which sums name the states.
var order = []string{
	"stuck", "in trouble", api.MachineFailed, api.MachineUnconfirmed, api.MachineFlashing, api.MachineHandingOff, api.MachineBooting,
	api.MachineArmed,
	api.MachineRunning, api.MachineLocalDisk, api.MachineRegistered, api.MachineDiscovered, "forgotten",
}

// sumLine is the board in one line.
func (t totals) sumLine() string {
	var parts []string
	for _, s := range order {
		if n := t.states[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	text := cmp.Or(strings.Join(parts, ", "), "no machines")
	if t.flying == 0 {
		return text
	}
	all := progress.Estimate{DataDone: t.done, DataTotal: t.data, Rate: t.rate, WireRate: t.wire, Left: t.left, Until: t.until}
	for _, figure := range []string{all.Amount(), all.Speed(), all.Outlook()} {
		if figure != "" {
			text += "  " + figure
		}
	}
	if b := t.brake(); b != "" {
		text += "  brake: " + b
	}
	return text
}
