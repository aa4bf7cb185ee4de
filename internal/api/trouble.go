package api

import (
	"fmt"
	"time"
)

// Trouble is what keeps a machine from going on as it should. It stands beside
// the state: a machine whose flash is tried again is still being flashed.
type Trouble struct {
	Cause   string    `json:"cause"` // stable code, one of Causes
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
	// Tries is how often the same step failed since; 0 where nothing is tried.
	Tries int `json:"tries,omitempty"`
	// NextTry is when it is tried again; zero: nobody has promised to, or the
	// try is under way.
	NextTry time.Time `json:"nextTry,omitzero"`
}

// Course says how it goes, in the zone of now: "tried 7 times since 15:43:36
// UTC, next in 20 s".
func (t *Trouble) Course(now time.Time) string {
	since := t.Since.In(now.Location())
	text := since.Format("15:04:05 MST")
	if now.Sub(since) >= 20*time.Hour {
		text = since.Format("2006-01-02 15:04:05 MST")
	}
	switch t.Tries {
	case 0:
		return "since " + text
	case 1:
		text = "tried once, at " + text
	default:
		text = fmt.Sprintf("tried %d times since %s", t.Tries, text)
	}
	if left := t.NextTry.Sub(now); left > 0 {
		text += fmt.Sprintf(", next in %.0f s", max(left.Seconds(), 1))
	}
	return text
}
