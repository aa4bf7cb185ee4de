package fleet

import (
	"github.com/gild-dev/gild/internal/server/budget"
)

// Stranger reports whether only the network speaks of a machine: the operator
// has said nothing of it, and nothing was ever flashed to it. Such a record may
// be forgotten without a loss. Of one that cannot be read nobody can say that.
func Stranger(m *Record) bool {
	return !m.Damaged() && !Registered(m) && m.Joined == "" && len(m.Spec.Labels) == 0 && m.System == nil && m.Receipt == nil &&
		m.Awaited == nil && !m.Writing
}

// KeptEvents is how many events are kept of a machine: any host can say as much
// as it likes of one that nobody knows.
func KeptEvents(m *Record) int {
	if Stranger(m) {
		return budget.EventsSeen
	}
	return budget.Events
}
