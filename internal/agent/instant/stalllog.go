package instant

import (
	"log/slog"
	"time"

	"github.com/gild-dev/gild/internal/flash"
)

// stallEvery is how often a stall is logged at most.
const stallEvery = time.Minute

// stallLog writes to the kernel log, and so to the console of a machine that
// seems to hang, that its system waits for its disk, and why. Not safe for
// concurrent use.
type stallLog struct {
	log  *slog.Logger
	last time.Time // when a stall was logged last
	open bool      // a stall was logged, and not yet its end
}

// see takes in a report of the engine.
func (l *stallLog) see(now time.Time, p flash.Progress) {
	switch {
	case p.Unmet == 0 && l.open:
		l.open = false
		l.log.Error("the system has its disk again")
	case p.Unmet > 0 && now.Sub(l.last) >= stallEvery:
		l.last, l.open = now, true
		l.log.Error("the system waits for its disk", "for", p.Unmet.Round(time.Second), "because", stallCause(p))
	}
}

func stallCause(p flash.Progress) string {
	switch {
	case p.Unanswered > 0:
		return "the disk itself does not answer"
	case p.Trouble != nil:
		return p.Trouble.Error()
	}
	return "what it needs is still on its way"
}
