package machines

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/server/outlook"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/state"
)

// room is this server's view of all machines, which follows the store: what is
// asked every second is asked here. Nothing in it is needed to be right; after
// a restart it is made anew.
type room struct {
	mu       sync.Mutex
	running  bool
	machines map[string]fleet.Record
	bells    map[string]chan struct{} // closed at the next change of a machine
	synced   bool                     // machines holds all of them, as they were not long ago
	// listening is since when machines can be heard here: since the server is
	// there, or the store came back that their words go to.
	listening time.Time

	strangers strangers
	outlook   outlook.Room
}

// roomAgain is the wait after the store was lost.
const roomAgain = time.Second

// followRoom keeps the room until ctx ends.
func (s Upkeep) followRoom(ctx context.Context) error {
	s.room.start()
	defer s.room.stop()
	for ctx.Err() == nil {
		s.room.listen(s.now())
		err := s.follow(ctx, place{}, func(at place, c state.Part) error {
			s.addresses.take(c)
			return s.room.takeAt(at, c)
		})
		if ctx.Err() == nil {
			s.log().Warn("following the machines: beginning anew", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(roomAgain):
		}
	}
	return ctx.Err()
}

// listen notes that machines are heard from now on.
func (r *room) listen(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening = now
}

// view is what operators see of a record at a time.
func (r *room) view(of fleet.Record, now time.Time) api.Machine {
	return r.outlook.With(view.Machine(of, view.Operator, now, r.since()), now)
}

func (r *room) since() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listening
}

func (r *room) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = true
	r.machines, r.bells = map[string]fleet.Record{}, map[string]chan struct{}{}
}

// stop rings every bell: nobody is to wait for a server that ends.
func (r *room) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
	for id := range r.bells {
		r.ring(id)
	}
}

// takeAt notes one change, and with a place that all before it are noted.
func (r *room) takeAt(at place, c state.Part) error {
	r.take(c)
	if at.revision != 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.synced = true
	}
	return nil
}

// take notes one change.
func (r *room) take(c state.Part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.Kind {
	case api.ChangeReset:
		clear(r.machines)
		r.outlook.Reset()
		r.strangers.reset()
		r.synced = false
	case api.ChangeRemoved:
		delete(r.machines, c.ID)
		r.outlook.Forget(c.ID)
		r.strangers.take(&fleet.Record{ID: c.ID}, true)
		r.ring(c.ID)
	case api.ChangeMachine:
		r.machines[c.ID] = *c.Record
		r.outlook.Take(c.Record)
		r.strangers.take(c.Record, false)
		r.ring(c.ID)
	}
}

func (r *room) ring(id string) {
	if bell := r.bells[id]; bell != nil {
		close(bell)
		delete(r.bells, id)
	}
}

// bell is closed at the next change of the machine. running is false when
// nobody rings it.
func (r *room) bell(id string) (bell <-chan struct{}, running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return nil, false
	}
	if r.bells[id] == nil {
		r.bells[id] = make(chan struct{})
	}
	return r.bells[id], true
}

// mayBeArmed reports whether a machine with one of the labels is armed as far
// as this server remembers, or that it does not remember.
func (r *room) mayBeArmed(labels []string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.synced {
		return true
	}
	for _, m := range r.machines {
		if m.Armed != nil && slices.ContainsFunc(append(fleet.Labels(&m), m.ID), func(l string) bool { return slices.Contains(labels, l) }) {
			return true
		}
	}
	return false
}

// all returns every machine. What its pointers lead to is not to be changed.
func (r *room) all() []fleet.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	machines := make([]fleet.Record, 0, len(r.machines))
	for _, m := range r.machines {
		machines = append(machines, m)
	}
	return machines
}

// OpenRoom makes what follows the machines and what time does to them one of
// the server's services.
func OpenRoom(log *slog.Logger) func(context.Context, *Core) (service.Service, func() error, error) {
	return func(_ context.Context, m *Core) (service.Service, func() error, error) {
		run := func(ctx context.Context) error {
			var all sync.WaitGroup
			all.Go(func() { _ = m.Upkeep().followRoom(ctx) })
			all.Go(func() { m.Upkeep().sweep(ctx, log) })
			all.Go(func() { m.Upkeep().probes(ctx, log) })
			all.Wait()
			return nil
		}
		return service.Func(run), nil, nil
	}
}
