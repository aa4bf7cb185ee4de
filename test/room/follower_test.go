package room

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
)

// follower is an operator's tool that watches the event stream all the time.
type follower struct {
	mu     sync.Mutex
	events map[string][]api.Event // by machine ID
	state  map[string]string
	resets int
	err    error
}

func follow(ctx context.Context, o *operatorclient.Client) *follower {
	f := &follower{events: map[string][]api.Event{}, state: map[string]string{}}
	go func() {
		err := o.Follow(ctx, func(c api.Change) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			switch c.Kind {
			case api.ChangeReset:
				f.resets++
			case api.ChangeEvent:
				f.events[c.ID] = append(f.events[c.ID], *c.Event)
			case api.ChangeMachine:
				f.state[c.ID] = c.Machine.State
			}
			return nil
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}()
	return f
}

// ready waits until it follows: what was before it does not hear of.
func (f *follower) ready(t *testing.T) {
	t.Helper()
	for range 1000 {
		f.mu.Lock()
		resets := f.resets
		f.mu.Unlock()
		if resets > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the event stream does not begin: %v", f.err)
}

// count is how many machines are in one of the states.
func (f *follower) count(states ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, is := range f.state {
		for _, s := range states {
			if is == s {
				n++
			}
		}
	}
	return n
}

// past copies what was reported of a machine.
func (f *follower) past(id string) []api.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]api.Event(nil), f.events[id]...)
}

func (f *follower) states() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.state)
}
