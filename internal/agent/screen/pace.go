package screen

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/units"
)

// screenWidth is how many cells a line may take on every screen that the
// firmware or the kernel makes, less one: a line that fills the last one wraps
// on some.
const screenWidth = 79

// widestBar leaves room for the figures of most disks, so that the bar keeps
// its length while they change.
const widestBar = 20

// stalledAfter is how long nothing may move before that is worth a word.
const stalledAfter = 5 * time.Second

// pace makes a line for the console of each report of a phase. Not safe for
// concurrent use.
type pace struct {
	phase      string
	done, wire int64
	seen       time.Time // the last report
	moved      time.Time // the last report with any news
}

// line takes in a report and returns what to show of it, and whether it is the
// first of a phase.
func (p *pace) line(now time.Time, r api.Progress) (text string, first bool) {
	r.Total = max(r.Total, 0)
	r.Done = min(max(r.Done, 0), r.Total)
	if first = p.seen.IsZero() || r.Phase != p.phase || r.Done < p.done; first || r.Done != p.done || r.Wire != p.wire {
		p.moved = now
	}
	p.phase, p.done, p.wire, p.seen = r.Phase, r.Done, r.Wire, now
	return p.draw(r), first
}

// draw is "write     [=====     ]  41 %  210 of 694 MiB  9.5 MiB/s  ~3 min to
// handoff".
func (p *pace) draw(r api.Progress) string {
	head, figures := fmt.Sprintf("%-9.20s", short(r.Phase, 20)), ""
	percent := 0
	if e := progress.Of(r.Facts()); e != nil && r.Total > 0 {
		percent = e.Percent
		figures = fmt.Sprintf(" %3d %%  %s", percent, e.Amount())
		if state := p.state(r, e); state != "" {
			figures += "  " + state
		}
	} else if r.Unanswered > 0 {
		figures = "  " + silent(r)
	}
	cells := min(widestBar, screenWidth-utf8.RuneCountInString(head+figures)-len(" []"))
	if r.Total <= 0 || cells < 4 {
		text := []rune(strings.TrimRight(head+figures, " "))
		return string(text[:min(len(text), screenWidth)])
	}
	full := cells * percent / 100
	return head + " [" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "]" + figures
}

func silent(r api.Progress) string { return fmt.Sprintf("disk silent for %d s", r.Unanswered) }

// state says how fast a phase comes on, or why not.
func (p *pace) state(r api.Progress, e *progress.Estimate) string {
	switch still := p.seen.Sub(p.moved); {
	case r.Unanswered > 0:
		return silent(r)
	case r.Done == r.Total:
		return ""
	case still >= stalledAfter:
		return fmt.Sprintf("stalled for %d s", int(still.Seconds()))
	case e.Rate < 1:
		return e.Outlook()
	}
	return units.Rate(e.Rate) + "  " + e.Outlook()
}
