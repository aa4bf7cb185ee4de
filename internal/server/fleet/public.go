package fleet

import (
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Public is a machine as operators see it at a time: without what only its
// agent or its new system may know, and with what time has done to it since it was stored.
// It is the one place where a record is made fit to be shown.
func Public(m api.Machine, now time.Time) api.Machine {
	Sweep(&m, now)
	m.Tickets = nil
	m.SpecRevision = SpecRevision(m.Spec)
	if m.Ration.Dropped == 0 {
		m.Ration = api.Ration{}
	}
	m.Session = "" // with the plan's ID it opens the identity
	if m.Armed != nil {
		armed := *m.Armed
		armed.Beacon, armed.IdentityTo = "", ""
		m.Armed = &armed
	}
	switch {
	case m.Awaited == nil:
	case awaiting(&m):
		w := *m.Awaited
		w.Beacon = ""
		m.Awaited = &w
	default:
		m.Awaited = nil // it stays in the record for a call that comes again
	}
	return m
}
