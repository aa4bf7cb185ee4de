package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
)

// Reporter reports what happens: on the consoles, in the kernel log and, by
// its queue, to the server. But for Progress it is safe for concurrent use.
type Reporter struct {
	Console *screen.Console
	Kmsg    *screen.Kmsg
	Queue   *Queue
	Uptime  func() float64 // seconds since the kernel started

	progressSent time.Time // only the caller of Progress touches it
}

// Event reports e.
func (r *Reporter) Event(e api.Event) {
	e.Time = time.Now().UTC()
	e.Uptime = r.Uptime()
	e.Message = screen.Clean(e.Message)
	r.Queue.Add(e)
	said := strings.Join(strings.Fields(e.Message), " ") // lists come on lines of their own
	if e.Retry > 0 {
		said += fmt.Sprintf(" (next try in %d s)", e.Retry)
	}
	line := e.Step + ": " + said
	switch e.State {
	case api.StateFailed:
		line = e.Step + " failed: " + said
	case api.StateStart:
		line = e.Step + ": " + said + " ..."
	}
	r.Console.Stamped(e.Uptime, line)
	level := screen.KmsgInfo
	if e.State == api.StateFailed {
		r.Console.Advise(e.Cause)
		level = screen.KmsgWarning
	}
	r.Kmsg.Write(level, line)
}

// reportEvery is how often the server hears of progress: it may have a
// thousand machines to listen to.
const reportEvery = time.Second

// Progress shows how far a step is, and reports it to the server now and then.
// Not safe for concurrent use.
func (r *Reporter) Progress(step string, p api.Progress) {
	now := time.Now()
	r.Console.Progress(p)
	if now.Sub(r.progressSent) >= reportEvery || p.Done == p.Total {
		r.progressSent = now
		r.Queue.Add(api.Event{Time: now.UTC(), Uptime: r.Uptime(), Step: step, State: api.StateProgress, Progress: &p})
	}
}

// Note reports something within a step.
func (r *Reporter) Note(step, format string, args ...any) {
	r.Event(api.Event{Step: step, State: api.StateProgress, Message: fmt.Sprintf(format, args...)})
}

// Show puts a line on the consoles alone.
func (r *Reporter) Show(line string) { r.Console.Stamped(r.Uptime(), line) }
