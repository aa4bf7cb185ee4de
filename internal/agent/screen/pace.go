package screen

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/api"
)

// screenWidth is how many cells a line may take on every screen that the
// firmware or the kernel makes, less one: a line that fills the last one wraps
// on some.
const screenWidth = 79

// widestBar leaves room for the figures of most disks, so that the bar keeps
// its length while they change.
const widestBar = 20

const (
	// rateOver is the time over which the rate on the console is smoothed:
	// the time left is computed from it, and must not jump with each burst.
	rateOver = 10 * time.Second
	// trustAfter is how long a phase is watched before its time left is shown.
	trustAfter = 3 * time.Second
	// stalledAfter is how long nothing may move before that is worth a word.
	stalledAfter = 5 * time.Second
	// longestLeft bounds the time left that is shown: beyond it, it is a guess.
	longestLeft = 100 * time.Hour
)

// pace makes a line for the console of each report of a phase. Not safe for
// concurrent use.
type pace struct {
	phase      string
	done, wire int64
	began      time.Time // of the phase, or of its going on after a stall
	seen       time.Time // the last report
	moved      time.Time // the last report with any news
	rate       float64   // bytes a second, times weight
	weight     float64   // how much of rateOver was seen, 0 to 1
}

// line takes in a report and returns what to show of it, and whether it is the
// first of a phase.
func (p *pace) line(now time.Time, r api.Progress) (text string, first bool) {
	r.Total = max(r.Total, 0)
	r.Done = min(max(r.Done, 0), r.Total)
	if first = p.seen.IsZero() || r.Phase != p.phase || r.Done < p.done; first {
		*p = pace{phase: r.Phase, done: r.Done, wire: r.Wire, began: now, seen: now, moved: now}
	}
	if elapsed := now.Sub(p.seen).Seconds(); elapsed > 0 {
		// What lies longer back counts less, by an exponential. The weight
		// keeps the first seconds from counting as if zeros came before.
		fade := math.Exp(-elapsed / rateOver.Seconds())
		p.rate = p.rate*fade + float64(r.Done-p.done)/elapsed*(1-fade)
		p.weight = p.weight*fade + (1 - fade)
	}
	if r.Done != p.done || r.Wire != p.wire {
		if now.Sub(p.moved) > stalledAfter {
			// The link is back: how long it was away says nothing of its speed.
			p.began, p.rate, p.weight = now, 0, 0
		}
		p.moved = now
	}
	p.done, p.wire, p.seen = r.Done, r.Wire, now
	return p.draw(r), first
}

// draw is "write     [=====     ]  41 %  1.2 of 2.9 GB  180 MB/s  0:09 left".
func (p *pace) draw(r api.Progress) string {
	head, figures := fmt.Sprintf("%-9.20s", short(r.Phase, 20)), ""
	percent := 0
	if r.Total > 0 {
		percent = int(100 * float64(r.Done) / float64(r.Total))
		figures = fmt.Sprintf(" %3d %%  %s", percent, amount(r.Done, r.Total))
	}
	if state := p.state(r); state != "" {
		figures += "  " + state
	}
	cells := min(widestBar, screenWidth-utf8.RuneCountInString(head+figures)-len(" []"))
	if r.Total <= 0 || cells < 4 {
		text := []rune(strings.TrimRight(head+figures, " "))
		return string(text[:min(len(text), screenWidth)])
	}
	full := cells * percent / 100
	return head + " [" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "]" + figures
}

// state says how fast a phase comes on, or why not.
func (p *pace) state(r api.Progress) string {
	switch still := p.seen.Sub(p.moved); {
	case r.Unanswered > 0:
		return fmt.Sprintf("disk silent for %d s", r.Unanswered)
	case r.Total <= 0 || r.Done == r.Total:
		return ""
	case still >= stalledAfter:
		return fmt.Sprintf("stalled for %d s", int(still.Seconds()))
	}
	rate := p.smoothed()
	if rate < 1 {
		return ""
	}
	text := throughput(rate)
	if left, ok := p.left(r, rate); ok {
		text += "  " + clock(left) + " left"
	}
	return text
}

// smoothed is the rate in bytes a second.
func (p *pace) smoothed() float64 {
	if p.weight <= 0 {
		return 0
	}
	return p.rate / p.weight
}

// left is what the phase still takes, once that can be estimated.
func (p *pace) left(r api.Progress, rate float64) (time.Duration, bool) {
	seconds := float64(r.Total-r.Done) / rate
	if p.seen.Sub(p.began) < trustAfter || !(seconds < longestLeft.Seconds()) {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// scale finds the unit that a figure of n is shown in, as powers of 1000.
func scale(n float64) (unit string, divisor float64) {
	switch {
	case n < 999.5e3:
		return "kB", 1e3
	case n < 999.5e6:
		return "MB", 1e6
	case n < 999.5e9:
		return "GB", 1e9
	}
	return "TB", 1e12
}

// amount is "1.2 of 2.9 GB".
func amount(done, total int64) string {
	unit, by := scale(float64(total))
	return fmt.Sprintf("%.1f of %.1f %s", float64(done)/by, float64(total)/by, unit)
}

func throughput(rate float64) string {
	unit, by := scale(rate)
	if rate/by < 9.95 {
		return fmt.Sprintf("%.1f %s/s", rate/by, unit)
	}
	return fmt.Sprintf("%.0f %s/s", rate/by, unit)
}

// clock writes a duration as minutes and seconds, or hours before them.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
