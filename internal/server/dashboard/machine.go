package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/printable"
	"github.com/gild-dev/gild/internal/units"
)

// machineView is one machine's page.
type machineView struct {
	M       api.Machine
	Look    look
	Name    string
	For     string // how long it has been so
	Course  string // of its trouble
	Percent int    // of the work; -1: nothing is under way
	ToDo    string // about what keeps it from being as it should
	CanArm  bool
	CanStop bool
	Labels  []string
	Current *flashView // the flash that is under way or was the last
	History []api.Flash
	Console []api.Event // newest first
}

// flashView is one flash with its times drawn.
type flashView struct {
	api.Flash
	Took  string
	Bars  []bar
	Chart *chart
}

// bar is a phase on the time line. Figures are thousandths of its width.
type bar struct {
	Step, State, Took string
	Tries             int // more than one: it failed meanwhile
	X, Width          int
}

// maxConsole bounds the events that the page shows; the API has all.
const maxConsole = 200

func (d *Dashboard) machine(r *http.Request) (string, frame, error) {
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		return "", frame{}, err
	}
	flashes, err := d.Room.Flashes(r.Context(), m.ID)
	if err != nil {
		return "", frame{}, err
	}
	events, err := d.Room.Events(r.Context(), m.ID)
	if err != nil {
		return "", frame{}, err
	}
	v := machineView{M: m, Look: lookOf(&m), Name: name(&m), For: seconds(d.now().Sub(m.Since)), Percent: -1, History: flashes}
	v.ToDo = todo(&m)
	if m.Trouble != nil {
		v.Course = m.Trouble.Course(d.now())
	}
	v.CanStop = m.Armed != nil
	v.CanArm = m.Armed == nil
	if e := m.Estimate; e != nil && e.DataTotal > 0 {
		v.Percent = e.Percent
	}
	v.Labels = labelsOf(&m)
	if len(flashes) > 0 {
		v.Current = draw(flashes[0], d.now())
	}
	events = events[max(0, len(events)-maxConsole):]
	slices.Reverse(events)
	v.Console = events
	return "machine", frame{Title: v.Name, Section: "room", Live: "machine event", LiveID: m.ID, Body: v}, nil
}

// todo is what an operator does about a machine that needs one.
func todo(m *api.Machine) string {
	switch {
	case m.Trouble != nil:
		return api.Advice(m.Trouble.Cause, name(m))
	case m.Conflict != "":
		return api.Advice(api.CauseConflict, name(m))
	}
	return ""
}

// draw puts phases and samples to scale.
func draw(f api.Flash, now time.Time) *flashView {
	v := &flashView{Flash: f}
	if len(f.Phases) > 0 {
		start := f.Phases[0].Start
		end := start
		for _, p := range f.Phases {
			end = later(end, endOf(p.End, now))
		}
		v.Took = seconds(end.Sub(start))
		span := max(end.Sub(start), time.Millisecond)
		for _, p := range f.Phases {
			stop := endOf(p.End, now)
			x := int(1000 * p.Start.Sub(start) / span)
			w := int(1000 * stop.Sub(p.Start) / span)
			v.Bars = append(v.Bars, bar{
				Step: cut(40, p.Step), State: stateClass(p.State), Took: seconds(stop.Sub(p.Start)), Tries: p.Tries,
				X: min(max(x, 0), 996), Width: min(max(w, 4), 1000),
			})
		}
	}
	v.Chart = plot(f.Samples)
	return v
}

func stateClass(s string) string {
	switch s {
	case api.StateDone, api.StateFailed:
		return s
	case api.StateStart, api.StateProgress:
		return "under-way"
	}
	return "ended" // by what became of the flash
}

func endOf(t, now time.Time) time.Time {
	if t.IsZero() {
		return now
	}
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Place of the plot within the chart, in its own units.
const (
	plotWidth  = 640
	plotHeight = 120
)

// chart is throughput over time as an SVG's paths.
type chart struct {
	Lines   []line
	Top     string // rate at the upper edge
	Mid     string
	Span    string // time at the right edge
	Average string
	Scanned bool // what was on the disk was looked at first
}

type line struct{ Phase, Points string }

// average is how fast data was written: all of it by the time that it took;
// empty: nothing was.
func average(samples []api.Sample) string {
	var bytes int64
	var took time.Duration
	for i, s := range samples {
		if i > 0 && s.Phase == "write" && samples[i-1].Phase == "write" {
			bytes, took = bytes+max(s.Done-samples[i-1].Done, 0), took+s.At.Sub(samples[i-1].At)
		}
	}
	if took <= 0 {
		return ""
	}
	return units.Rate(float64(bytes) / took.Seconds())
}

// plot draws one line a phase, so that looking at what is there, writing and
// reading back are told apart by their dash too.
func plot(samples []api.Sample) *chart {
	if len(samples) < 2 {
		return nil
	}
	top := 0.0
	for _, s := range samples {
		top = max(top, s.Rate)
	}
	start, end := samples[0].At, samples[len(samples)-1].At
	span := end.Sub(start)
	if top <= 0 || span <= 0 {
		return nil
	}
	c := &chart{Top: units.Rate(top), Mid: units.Rate(top / 2), Span: seconds(span), Average: average(samples)}
	for _, s := range samples {
		phase := "read-back"
		if s.Phase == "write" || s.Phase == "scan" {
			phase = s.Phase
		}
		c.Scanned = c.Scanned || phase == "scan"
		if n := len(c.Lines); n == 0 || c.Lines[n-1].Phase != phase {
			c.Lines = append(c.Lines, line{Phase: phase})
		}
		x := plotWidth * s.At.Sub(start).Seconds() / span.Seconds()
		y := plotHeight * (1 - max(s.Rate, 0)/top)
		c.Lines[len(c.Lines)-1].Points += fmt.Sprintf("%.1f,%.1f ", x, y)
	}
	return c
}

// console gives a machine's events as text, the oldest first.
func (d *Dashboard) console(w http.ResponseWriter, r *http.Request) {
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		d.fail(w, r, err)
		return
	}
	events, err := d.Room.Events(r.Context(), m.ID)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, e := range events {
		fmt.Fprintln(w, eventLine(e))
	}
}

// eventLine is an event in one line of text that no terminal takes for anything
// else.
func eventLine(e api.Event) string {
	words := []string{e.Time.UTC().Format(time.RFC3339), e.Step, e.State}
	if e.To != "" {
		words = append(words, "-> "+e.To)
	}
	if e.Cause != "" {
		words = append(words, "["+e.Cause+"]")
	}
	return printable.Mark(strings.Join(append(words, e.Message), " "))
}
