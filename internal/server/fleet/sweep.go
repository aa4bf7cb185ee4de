package fleet

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

const (
	// bootWithin is how long firmware, iPXE and the kernel may take until an
	// agent speaks: slow firmware, and a hundred megabytes over a slow link.
	bootWithin = 3 * time.Minute
	// waitingWithin is how long nothing is written of an agent that waits for
	// an arm, and a little more.
	waitingWithin = 3 * refreshAfter
	// callAgain is how long a new system may take to call again that called
	// while no server listened.
	callAgain = 90 * time.Second
	// conflictFor is how long a second agent is shown after its last word.
	conflictFor = 3 * retryConflict * time.Second
)

// Sweep is what time does to a machine: arms lapse, agents fall silent,
// confirmations are overdue. Doing it twice is doing it once, so that every
// server may. listening is since when this server could hear machines: what it
// was not there to hear is nobody's silence. Zero is always.
func Sweep(m *Record, now, listening time.Time) []api.Event {
	t := Begin(m, api.ActorServer, now)
	t.lapse()
	t.overdue(listening)
	t.silent(listening)
	t.rationed()
	if m.Conflict != "" && now.Sub(m.ConflictSeen) >= conflictFor {
		t.Note(Did(StepHello, "is gone: "+m.Conflict))
		m.noConflict()
	}
	return t.Events
}

// Due reports whether Sweep would change the machine.
func Due(m Record, now, listening time.Time) bool { return len(Sweep(&m, now, listening)) > 0 }

// silent marks a machine whose agent should speak and does not. That one which
// waits for an arm is gone is no failure of anything.
func (t *Turn) silent(listening time.Time) {
	m := t.m
	last, limit := m.AgentSeen, time.Duration(0)
	switch agent := m.Session != "" && !m.FirmwareSeen.After(m.AgentSeen); {
	case !m.Stuck.IsZero():
	case agent && m.Armed != nil && (m.State == api.MachineFlashing || m.Live):
		limit = api.StuckAfter * time.Second
	case agent && m.Armed == nil && m.Waiting:
		limit = waitingWithin
	case m.Armed != nil && !agent && (m.State == api.MachineBooting || m.State == api.MachineFlashing):
		last, limit = m.FirmwareSeen, bootWithin
	}
	if limit == 0 || last.IsZero() || t.now.Sub(later(last, listening)) < limit {
		return
	}
	m.Stuck = last
	since := last.UTC().Format(time.TimeOnly)
	if m.Armed == nil {
		t.Note(Did(StepStuck, "silent since "+since+" UTC while its agent waited"))
		return
	}
	t.Note(api.Event{
		Step: StepStuck, State: api.StateFailed, Cause: api.CauseSilent,
		Message: fmt.Sprintf("silent since %s UTC while %s", since, m.State),
	})
}
