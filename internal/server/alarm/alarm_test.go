package alarm

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gild-dev/gild/internal/api"
)

// An alarm is an event when it comes and when it goes, however often it is
// told, and whatever became of the one before.
func TestAlarmsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var kept []string
		done := make(chan error, 1)
		go func() {
			done <- a.Keep(ctx, func(_ context.Context, e api.Event) error {
				if e.Actor != api.ActorServer || e.Time.IsZero() {
					t.Errorf("event %+v; want the server's, with a time", e)
				}
				kept = append(kept, e.State+" "+e.Cause+" "+e.Message)
				return errors.New("the state does not answer")
			})
		}()
		a.Raise(api.AlarmDHCP, "nobody hears")
		a.Raise(api.AlarmDHCP, "nobody hears")
		a.Raise(api.AlarmDHCP, "nobody hears\nat all")
		a.Clear(api.AlarmInterface)
		a.Clear(api.AlarmDHCP)
		synctest.Wait()
		if all, _ := a.List(); len(all) != 0 {
			t.Errorf("alarms %v; want none any more", all)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := "failed dhcp nobody hears, failed dhcp nobody hears?at all, done dhcp it is over: nobody hears?at all"
		if got := strings.Join(kept, ", "); got != want {
			t.Errorf("kept %q; want %q", got, want)
		}
	})
}

// Whoever raises an alarm waits for nobody, also when nothing can be kept.
func TestRaisingWaitsForNobody(t *testing.T) {
	a := New(slog.New(slog.DiscardHandler))
	for i := range 1000 {
		a.Raise(api.AlarmDHCP, strings.Repeat("x", i%7))
	}
	if all, _ := a.List(); len(all) != 1 {
		t.Errorf("alarms %v; want the last one", all)
	}
}
