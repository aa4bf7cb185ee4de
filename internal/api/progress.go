package api

import (
	"time"

	"github.com/gild-dev/gild/internal/progress"
)

// Facts are what an estimate is made of; nil: nothing is under way.
func (p *Progress) Facts() progress.Facts {
	if p == nil {
		return progress.Facts{}
	}
	return progress.Facts{Phase: p.Phase, Work: p.Work, Done: p.Done, Total: p.Total}
}

// phases of a flash, in order.
var phases = map[string]int{"scan": 1, "write": 2, "read back": 3, "seal": 4}

// Beyond reports whether a flash is farther than another one was; nil: it had
// not begun.
func (p *Progress) Beyond(other *Progress) bool {
	switch {
	case p == nil:
		return false
	case other == nil || phases[p.Phase] != phases[other.Phase]:
		return other == nil || phases[p.Phase] > phases[other.Phase]
	}
	return p.Done > other.Done
}

// Sample is how far a flash was at one moment.
type Sample struct {
	At    time.Time `json:"at"`
	Phase string    `json:"phase"`
	Done  int64     `json:"done"` // bytes; of data, in the phase write
	Wire  int64     `json:"wire"` // bytes
	Rate  float64   `json:"rate"` // bytes a second
}

// Flashes is a machine's history, newest first: at most the last 50.
type Flashes struct {
	Flashes []Flash `json:"flashes"`
}
