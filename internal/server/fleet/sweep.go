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
	// conflictFor is how long a second agent is shown after its last word.
	conflictFor = 3 * retryConflict * time.Second
)

// Sweep is what time does to a machine: arms lapse, agents fall silent,
// confirmations are overdue. Doing it twice is doing it once, so that every
// server may.
func Sweep(m *Record, now time.Time) []api.Event {
	t := begin(m, api.ActorServer, now)
	t.lapse()
	t.overdue()
	t.silent()
	t.rationed()
	if m.Conflict != "" && now.Sub(m.ConflictSeen) >= conflictFor {
		t.note(done(StepHello, "is gone: "+m.Conflict))
		m.Conflict, m.ConflictSeen = "", time.Time{}
	}
	return t.events
}

// Due reports whether Sweep would change the machine.
func Due(m Record, now time.Time) bool { return len(Sweep(&m, now)) > 0 }

// silent marks a machine whose agent should speak and does not.
func (t *turn) silent() {
	m := t.m
	last, limit := m.AgentSeen, time.Duration(0)
	switch agent := m.Session != "" && !m.FirmwareSeen.After(m.AgentSeen); {
	case !m.Stuck.IsZero():
	case agent && m.Armed != nil && (m.State == api.MachineFlashing || m.State == api.MachineFailed || m.Live):
		limit = api.StuckAfter * time.Second
	case agent && m.Armed == nil && m.Waiting:
		limit = waitingWithin
	case m.Armed != nil && !agent && (m.State == api.MachineBooting || m.State == api.MachineFlashing):
		last, limit = m.FirmwareSeen, bootWithin
	}
	if limit == 0 || last.IsZero() || t.now.Sub(last) < limit {
		return
	}
	m.Stuck = last
	t.note(api.Event{
		Step: StepStuck, State: api.StateFailed, Cause: api.CauseSilent,
		Message: fmt.Sprintf("silent since %s UTC while %s", last.UTC().Format(time.TimeOnly), m.State),
	})
}
