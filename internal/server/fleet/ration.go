package fleet

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
)

// Of a machine's events so many are kept at once, which several flashes do not
// tell, and then one in a while: a machine that fails and tries again every few
// seconds tells no more.
const (
	rationBurst = budget.EventBurst
	rationEvery = budget.EventEvery
)

// Ration leaves out what a machine tells faster than it is kept, and notes that
// once. What operators and the server did is kept whatever it is, and so are
// receipts. A change of state may overdraw the bucket by as much again, so that
// chatter does not hide it.
func Ration(m *Record, events []api.Event, now time.Time) []api.Event {
	kept := make([]api.Event, 0, len(events)+1)
	began := false
	for _, e := range events {
		most := time.Duration(rationBurst)
		if e.To != "" {
			most *= 2
		}
		switch full := later(m.Rationed.Full, now); {
		case e.Audited():
		case full.Sub(now)+rationEvery > most*rationEvery:
			began = began || m.Rationed.Dropped == 0
			m.Rationed.Dropped++
			continue
		default:
			m.Rationed.Full = full.Add(rationEvery)
		}
		kept = append(kept, e)
	}
	if began {
		kept = append(kept, api.Event{
			Time: now, Step: StepDropped, State: api.StateFailed, Actor: api.ActorServer,
			Message: "sends more events than are kept: they are dropped from now on",
		})
	}
	return kept
}

// rationed tells how much was dropped, once the machine tells less.
func (t *Turn) rationed() {
	r := &t.m.Rationed
	if r.Dropped == 0 || t.now.Before(r.Full) {
		return
	}
	t.Note(Did(StepDropped, fmt.Sprintf("its events are kept again: %d were dropped", r.Dropped)))
	*r = Bucket{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
