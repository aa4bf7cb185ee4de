package machines

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
)

// strangerError says that a machine that nobody knows is not written down.
type strangerError struct {
	ID  string
	Why string
}

func (e *strangerError) Error() string { return "machine " + e.ID + " is not written down: " + e.Why }

// strangers are what this server knows of the records that only the network
// speaks of. Any host can make them up, so they have a budget of their own.
type strangers struct {
	mu    sync.Mutex
	by    map[string]stranger
	bytes int64
	pace  *rate.Limiter
	tight atomic.Bool // memory is short
}

// stranger is one record: its size in bytes, its events with it, and when the
// machine last reported.
type stranger struct {
	bytes int64
	seen  time.Time
}

// take notes a record as it is now; gone: it was removed.
func (s *strangers) take(m *fleet.Record, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.by[m.ID]; known {
		s.bytes -= old.bytes
		delete(s.by, m.ID)
	}
	if gone || !fleet.Stranger(m) {
		return
	}
	if s.by == nil {
		s.by = map[string]stranger{}
	}
	p, err := json.Marshal(m)
	if err != nil {
		return // it was stored: it can be written
	}
	// Its events are half as many sentences, at their longest.
	one := stranger{int64(len(p)) + min(int64(m.Seq)+1, budget.EventsSeen)*budget.Text/2, m.LastSeen}
	s.by[m.ID], s.bytes = one, s.bytes+one.bytes
}

func (s *strangers) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.by)
	s.bytes = 0
}

// admit reports whether a machine that is not known may have a record; why
// not, if it may not.
func (s *strangers) admit(now time.Time) (ok bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.by) >= budget.SeenRecords || s.bytes >= budget.SeenBytes || s.tight.Load() {
		return false, "no more room for unregistered machines"
	}
	if s.pace == nil {
		s.pace = rate.NewLimiter(budget.SeenRate, budget.SeenBurst)
	}
	if !s.pace.AllowN(now, 1) {
		return false, "too many unregistered machines appeared at once"
	}
	return true, ""
}

// forgetAtOnce bounds one look for what is to be forgotten.
const forgetAtOnce = 500

// surplus are the records to forget: those that were silent for too long, and
// those that were silent longest while there is less room than a twentieth of
// the budget, so that the next newcomer finds some.
func (s *strangers) surplus(now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.by))
	for id := range s.by {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return s.by[a].seen.Compare(s.by[b].seen) })
	n, bytes := len(ids), s.bytes
	for i, id := range ids {
		old := now.Sub(s.by[id].seen) > budget.SeenFor
		full := n > budget.SeenRecords/20*19 || bytes > budget.SeenBytes/20*19
		if !old && !full || i == forgetAtOnce {
			return ids[:i]
		}
		n, bytes = n-1, bytes-s.by[id].bytes
	}
	return ids
}

// errKnown keeps a record that somebody has come to know meanwhile.
var errKnown = errors.New("the machine is known")

// forgetStrangers makes room in the budget of strangers. Every server of a
// cluster does it.
func (s Upkeep) forgetStrangers(ctx context.Context) error {
	var failed []error
	for _, id := range s.room.strangers.surplus(s.now()) {
		err := s.Store.Delete(ctx, id, func(m *fleet.Record) ([]api.Event, error) {
			if !fleet.Stranger(m) {
				return nil, errKnown
			}
			return nil, nil
		})
		switch {
		case err == nil:
			s.Metrics.Stranger("forgotten")
		case away(err):
			return errors.Join(append(failed, err)...)
		case !errors.Is(err, errKnown) && !errors.Is(err, state.ErrNotFound):
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Tighten says whether memory is short: no stranger gets a record then.
func (s *Core) Tighten(tight bool) { s.room.strangers.tight.Store(tight) }

// admit refuses a record to a machine that nobody knows, with a *strangerError.
func (s *Core) admit(id string) error {
	if ok, why := s.room.strangers.admit(s.now()); !ok {
		s.Metrics.Stranger("turned away")
		return &strangerError{id, why}
	}
	s.Metrics.Stranger("written down")
	return nil
}

// turnedAway is what an agent is answered that runs in a machine without a
// record: it waits where agents of unknown machines do.
func (s Agents) turnedAway(e *strangerError) api.Answer {
	if s.Discover == "" {
		return api.Answer{Action: api.ActionLocalDisk, Message: "this machine is not armed; " + e.Why}
	}
	return api.Answer{Action: api.ActionWait, Retry: 30, Message: e.Error()}
}

// inventoryPace is how often inventories of a machine that differ are written
// down.
type inventoryPace struct {
	once sync.Once
	by   budget.Limiter
}

// Allow reports whether one more of a record may be.
func (p *inventoryPace) Allow(id string, now time.Time) bool {
	p.once.Do(func() {
		p.by.Rate, p.by.Burst, p.by.Keys = rate.Every(budget.InventoryEvery), budget.InventoryBurst, budget.Machines
	})
	return p.by.Allow(id, now)
}

// unarmed decides what a machine boots when its record could not be read or
// written. decided is what the rule had said by then, if it was asked. A
// machine that is not armed reaches its disk whatever is broken; one of which
// that is not known asks again.
func (s Agents) unarmed(who api.Inventory, decided *ruling, err error) (fleet.Decision, error) {
	local := fleet.Decision{ID: who.MAC, Why: "not armed, and nothing can be written down now: booting the local disk"}
	stranger, full := errors.AsType[*strangerError](err)
	switch {
	case full:
		local.Why = "not armed, " + stranger.Why + ": booting the local disk"
	case decided != nil && decided.armed:
		return fleet.Decision{}, err
	case decided == nil && s.room.mayBeArmed(fleet.ShownBy(&who).Labels()):
		return fleet.Decision{}, err
	default:
		s.log().Warn("a machine that is not armed boots its disk, and its record could not be changed", "machine", who.MAC, "err", err)
	}
	s.Metrics.Unrecorded()
	return local, nil
}

// ruling is what the rule saw before a record could not be written.
type ruling struct{ armed bool }
