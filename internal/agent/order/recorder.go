package order

import (
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/flash"
)

// Bounds of a recording.
const (
	maxSamples = 120 // as api.Receipt.Samples has it
	// firstStep is a little less than the time between two reports of the
	// engine, so that a short flash has a sample for each.
	firstStep = 200 * time.Millisecond
)

// recorder gathers the throughput of one flash for its receipt, whatever the
// flash takes: when it is full, neighbours are joined and each step of time is
// twice as long from there on. Phases are never joined: reading back is not as
// fast as writing. Not safe for concurrent use.
type recorder struct {
	step  time.Duration
	spans []span
	from  mark // where the span that is open began
	last  mark
}

// mark is how far a flash was at one moment.
type mark struct {
	at         time.Time
	phase      string
	done, wire int64
}

type span struct{ from, to mark }

// newRecorder begins to record.
func newRecorder(now time.Time) *recorder {
	return &recorder{step: firstStep, from: mark{at: now}, last: mark{at: now}}
}

// add takes in a report of the engine.
func (r *recorder) add(now time.Time, p flash.Progress) {
	m := mark{now, p.Phase.String(), p.Done, p.Wire}
	if p.Phase == flash.PhaseWrite && p.Work.Data > 0 {
		m.done = p.Work.Written // zeros come at another speed, and cost nothing
	}
	if m.phase != r.last.phase || m.done < r.last.done {
		r.close()
		// The phase began at some time since the last report.
		r.from = mark{at: r.last.at, phase: m.phase, wire: r.last.wire}
	}
	if p.Total <= 0 { // no bytes to count yet
		r.from = m
	}
	r.last = m
	if m.at.Sub(r.from.at) >= r.step {
		r.close()
		r.from = m
	}
}

// close ends the open span. What is too short for a rate of its own belongs to
// the one before.
func (r *recorder) close() {
	s := span{r.from, r.last}
	if r.from.phase != r.last.phase || !s.to.at.After(s.from.at) {
		return
	}
	if n := len(r.spans); n > 0 && r.spans[n-1].to == s.from && s.to.at.Sub(s.from.at) < r.step/2 {
		r.spans[n-1].to = s.to
		return
	}
	if len(r.spans) == maxSamples {
		r.join()
	}
	if len(r.spans) < maxSamples { // always: a flash has five phases
		r.spans = append(r.spans, s)
	}
}

// join makes one of each two neighbours.
func (r *recorder) join() {
	r.step *= 2
	joined, open := r.spans[:0], false
	for _, s := range r.spans {
		if n := len(joined); open && joined[n-1].to == s.from {
			joined[n-1].to, open = s.to, false
			continue
		}
		joined, open = append(joined, s), true
	}
	r.spans = joined
}

// samples ends the recording and returns it, at most maxSamples.
func (r *recorder) samples() []api.Sample {
	r.close()
	r.from = r.last
	var list []api.Sample
	for _, s := range r.spans {
		rate := float64(max(0, s.to.done-s.from.done)) / s.to.at.Sub(s.from.at).Seconds()
		list = append(list, api.Sample{At: s.to.at.UTC(), Phase: s.to.phase, Done: s.to.done, Wire: s.to.wire, Rate: rate})
	}
	return list
}
