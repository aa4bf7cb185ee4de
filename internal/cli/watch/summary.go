package watch

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/units"
)

// clock notes when the machine's flash began and when its system ran.
func (w *watched) clock() {
	switch w.State {
	case api.MachineArmed:
		w.from, w.to = time.Time{}, time.Time{} // armed anew
	case api.MachineBooting, api.MachineFlashing:
		if w.from.IsZero() {
			w.from = w.Since
		}
	case api.MachineRunning:
		if w.to.IsZero() {
			w.to = w.Since
		}
	}
}

// summary says how long those took that run now, and which took longest: "3:51
// in all, slowest web3 (3:40), 9.1 MiB/s each, the link was the brake"; empty:
// none was seen from start to end.
func (r *board) summary() string {
	var first, last time.Time
	var slowest *watched
	var rates float64
	var rated int
	brakes := map[string]int{}
	for _, w := range r.sorted() {
		if w.gone || w.State != api.MachineRunning || w.from.IsZero() {
			continue
		}
		if first.IsZero() || w.from.Before(first) {
			first = w.from
		}
		if w.to.After(last) {
			last = w.to
		}
		if b := most(w.brakes); b != "" {
			brakes[b]++
		}
		if slowest == nil || w.to.Sub(w.from) > slowest.to.Sub(slowest.from) {
			slowest = w
		}
		if rate := writeRate(w.Receipt); rate > 0 {
			rates, rated = rates+rate, rated+1
		}
	}
	if slowest == nil {
		return ""
	}
	text := fmt.Sprintf("%s in all, slowest %s (%s)", term.Clock(last.Sub(first)), phrase.Name(&slowest.Machine),
		term.Clock(slowest.to.Sub(slowest.from)))
	if rated > 0 {
		text += ", " + units.Rate(rates/float64(rated)) + " each"
	}
	if b := most(brakes); b != "" {
		text += ", the " + b + " was the brake"
	}
	return text
}

// writeRate is how fast data came to the disk, in bytes a second; 0: not known.
func writeRate(r *api.Receipt) float64 {
	if r == nil || r.PhaseTimes["write"] <= 0 {
		return 0
	}
	return float64(r.Written) / r.PhaseTimes["write"]
}

// endLine is the board when a watch ends.
func (r *board) endLine() string {
	text := r.totals().sumLine()
	if summary := r.summary(); summary != "" {
		text += ": " + summary
	}
	return text
}
