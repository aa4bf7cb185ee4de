package server

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// alarms are what is wrong with this server now, each by its kind. They are logged as they come and go, and told to the
// other servers and to whoever asks.
type alarms struct {
	log *slog.Logger

	mu      sync.Mutex
	raised  map[string]api.Alarm
	changed chan struct{} // closed at the next change
}

func newAlarms(log *slog.Logger) *alarms {
	return &alarms{log: log, raised: map[string]api.Alarm{}, changed: make(chan struct{})}
}

// Raise says that something is wrong, with what an operator can do about it. The same again is nothing new.
func (a *alarms) Raise(kind, text string) {
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
}

// Clear says that it is right again.
func (a *alarms) Clear(kind string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, was := a.raised[kind]
	if !was {
		return
	}
	delete(a.raised, kind)
	a.tell()
	a.log.Info("alarm is over: "+old.Text, "kind", kind, "after", time.Since(old.Since).Round(time.Second))
}

func (a *alarms) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// list returns what is wrong, by kind, and what is closed when that is no longer true.
func (a *alarms) list() ([]api.Alarm, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []api.Alarm
	for _, alarm := range a.raised {
		all = append(all, alarm)
	}
	slices.SortFunc(all, func(x, y api.Alarm) int { return strings.Compare(x.Kind, y.Kind) })
	return all, a.changed
}
