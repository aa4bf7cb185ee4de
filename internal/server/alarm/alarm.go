// Package alarm keeps what is wrong with a server now.
package alarm

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// Alarms are what is wrong with this server now, each by its kind. They are
// logged as they come and go, told to the other servers and to whoever asks,
// and are events in the log of what was done.
type Alarms struct {
	log    *slog.Logger
	events chan api.Event // that are to be kept

	mu      sync.Mutex
	raised  map[string]api.Alarm
	changed chan struct{} // closed at the next change
}

// New has no alarms yet.
func New(log *slog.Logger) *Alarms {
	return &Alarms{log: log, events: make(chan api.Event, 64), raised: map[string]api.Alarm{}, changed: make(chan struct{})}
}

// Keep notes as events what comes and goes, until ctx ends. While the state
// does not answer the newest are dropped: whoever raises an alarm waits for
// nobody.
func (a *Alarms) Keep(ctx context.Context, note func(context.Context, api.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-a.events:
			if err := note(ctx, e); err != nil && ctx.Err() == nil {
				a.log.Warn("an alarm is no event", "err", err)
			}
		}
	}
}

// event has it kept that an alarm has come or gone.
func (a *Alarms) event(state, kind, text string) {
	e := api.Event{Time: time.Now(), Step: "alarm", State: state, Actor: api.ActorServer, Cause: kind, Message: wire.Clean(text)}
	select {
	case a.events <- e:
	default:
	}
}

// Raise says that something is wrong, with what an operator can do about it.
// The same again is nothing new.
func (a *Alarms) Raise(kind, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, was := a.raised[kind]
	if was && old.Text == text {
		return
	}
	alarm := api.Alarm{Kind: kind, Text: text, Since: time.Now()}
	if was {
		alarm.Since = old.Since
	}
	a.raised[kind] = alarm
	a.tell()
	a.log.Warn("alarm: "+text, "kind", kind)
	a.event(api.StateFailed, kind, text)
}

// Clear says that it is right again.
func (a *Alarms) Clear(kind string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, was := a.raised[kind]
	if !was {
		return
	}
	delete(a.raised, kind)
	a.tell()
	a.event(api.StateDone, kind, "it is over: "+old.Text)
	a.log.Info("alarm is over: "+old.Text, "kind", kind, "after", time.Since(old.Since).Round(time.Second))
}

func (a *Alarms) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// List returns what is wrong, by kind, and what is closed when that is no
// longer true.
func (a *Alarms) List() ([]api.Alarm, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []api.Alarm
	for _, alarm := range a.raised {
		all = append(all, alarm)
	}
	slices.SortFunc(all, func(x, y api.Alarm) int { return strings.Compare(x.Kind, y.Kind) })
	return all, a.changed
}
