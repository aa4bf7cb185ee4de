package watch

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/progress"
)

// sumEvery is how often lines tell how far everything is.
const sumEvery = 10 * time.Second

// tickJitter is how much too early a tick of a second may come.
const tickJitter = 500 * time.Millisecond

// sumClock says when it is time again.
type sumClock struct{ last time.Time }

// due is true every sumEvery, from the first call on.
func (c *sumClock) due(now time.Time) bool {
	if c.last.IsZero() {
		c.last = now
	}
	if now.Sub(c.last) < sumEvery-tickJitter {
		return false
	}
	c.last = now
	return true
}

// eachFlashing calls do for every machine that is being flashed.
func (r *board) eachFlashing(do func(*watched)) {
	for _, w := range r.sorted() {
		// That one is in trouble was said when it came to be.
		if w.State == api.MachineFlashing && !w.gone && !phrase.InTrouble(&w.Machine) {
			do(w)
		}
	}
}

// lines shows a board where there is no terminal.
type lines struct {
	out interface{ Write(p []byte) (int, error) }
	now func() time.Time
	sumClock
}

func (l *lines) print(name, text string) {
	fmt.Fprintf(l.out, "%s  %-17s  %s\n", l.now().Local().Format("15:04:05 MST"), name, text)
}

func (l *lines) changed(w *watched) { l.print(phrase.Name(&w.Machine), w.sentence()) }

func (l *lines) tick(r *board, now time.Time) {
	if !l.due(now) {
		return
	}
	r.eachFlashing(l.changed)
	l.print("all", r.totals().sumLine())
}

func (l *lines) note(text string) { l.print("all", text) }
func (l *lines) done(r *board)    { l.print("all", r.endLine()) }

// sentence is how a machine is, in words.
func (w *watched) sentence() string {
	if w.gone {
		return "forgotten"
	}
	text := phrase.State(&w.Machine)
	troubled := phrase.InTrouble(&w.Machine) && w.Stuck.IsZero()
	if e := w.Estimate; (w.State == api.MachineFlashing || w.Live) && e != nil && e.DataTotal > 0 {
		text += ": " + term.Printable(e.String())
		if p := w.Progress; p != nil && p.Unanswered > 0 {
			text += fmt.Sprintf(", disk silent for %d s", p.Unanswered)
		}
		if w.Conflict == "" && !troubled {
			return text
		}
	}
	if last := phrase.Last(&w.Machine); last != "" {
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
	Time     time.Time     `json:"time"`
	ID       string        `json:"id"`
	Name     string        `json:"name,omitempty"`
	State    string        `json:"state"` // or "forgotten"
	Progress *api.Progress `json:"progress,omitempty"`
	// Estimate is the same as that of the machine by the API.
	Estimate *progress.Estimate `json:"estimate,omitempty"`
	Stuck    time.Time          `json:"stuck,omitzero"`
	Conflict string             `json:"conflict,omitempty"`
	Trouble  *api.Trouble       `json:"trouble,omitempty"`
	Message  string             `json:"message,omitempty"`
	Ended    bool               `json:"ended"`
}

func (j *jsonView) changed(w *watched) {
	state := w.State
	if w.gone {
		state = "forgotten"
	}
	// A reader that is gone ends the process by SIGPIPE.
	_ = j.enc.Encode(watchLine{
		time.Now().UTC(), w.ID, w.Spec.Name, state, w.Progress, w.Estimate, w.Stuck, w.Conflict, w.Trouble, w.Message, w.ended(),
	})
}

func (j *jsonView) tick(r *board, now time.Time) {
	if j.due(now) {
		r.eachFlashing(j.changed)
	}
}

func (j *jsonView) note(string) {}
func (j *jsonView) done(*board) {}
