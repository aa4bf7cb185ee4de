package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/past"
)

// testShelves: who talks without end crowds out only what was said like it.
func testShelves(t *testing.T, s *state.Store) {
	const id, chatter = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	did := func(id, actor, message string, receipt *api.Receipt) {
		t.Helper()
		Update(t, s, id, func(*fleet.Record) ([]api.Event, error) {
			return []api.Event{{Time: at, Actor: actor, Message: message, Receipt: receipt}}, nil
		})
	}
	did(id, api.ActorOperator, "armed", nil)
	did(id, api.ActorServer, "lapsed", nil)
	did(id, api.ActorAgent, "sealed", &api.Receipt{Plan: "p1", Samples: make([]api.Sample, 3)})
	for range 30 { // three thousand entries would take too long one by one
		for _, talker := range []string{id, chatter} {
			Update(t, s, talker, func(*fleet.Record) ([]api.Event, error) {
				var events []api.Event
				for i := range 100 {
					events = append(events, api.Event{Time: at, Actor: api.ActorAgent, Message: fmt.Sprint(i)})
				}
				return events, nil
			})
		}
	}
	for range budget.LogEntries / 8 {
		did(chatter, api.ActorAgent, "chatter", nil)
	}
	did(id, "operator:ci", "cancelled", nil)

	want := []string{"cancelled", "sealed", "lapsed", "armed"}
	events, err := s.Events(t.Context(), id)
	if err != nil || len(events) != past.KeptEvents+len(want) {
		t.Errorf("%d events, %v; want %d", len(events), err, past.KeptEvents+len(want))
	}
	for i, m := range []string{"armed", "lapsed", "sealed"} {
		if e := events[i]; e.Message != m || e.Number != uint64(i+1) {
			t.Errorf("event %d = %+v; want %s", i, e, m)
		}
	}
	if last := events[len(events)-1]; last.Message != "cancelled" || last.Number != 3004 {
		t.Errorf("the last event = %+v; want what was done last", last)
	}
	for _, limit := range []int{10, 100, 1000} {
		log, err := s.Recent(t.Context(), limit, false)
		if err != nil || len(log) != limit || log[0].Event.Message != "cancelled" {
			t.Fatalf("Recent(%d) = %d entries, %v; want it full, newest first", limit, len(log), err)
		}
		var own []string
		for _, e := range log {
			if e.Machine == id && e.Event.Audited() {
				own = append(own, e.Event.Message)
			}
		}
		if fmt.Sprint(own) != fmt.Sprint(want) {
			t.Errorf("Recent(%d) has %v of what was done; want %v", limit, own, want)
		}
	}
	// It outlives the machine, with the word that ended it.
	err = s.Delete(t.Context(), id, func(*fleet.Record) ([]api.Event, error) {
		return []api.Event{{Time: at, Actor: api.ActorOperator, Message: "forgotten"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.Recent(t.Context(), 5, true)
	var got []string
	for _, e := range log {
		if e.Machine == id {
			got = append(got, e.Event.Message)
		}
		if r := e.Event.Receipt; r != nil && (r.Plan != "p1" || r.Samples != nil) {
			t.Errorf("the receipt in the log = %+v", r)
		}
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(append([]string{"forgotten"}, want...)) {
		t.Errorf("Recent for audit = %v, %v; want what was done with the machine to its end", got, err)
	}
	if events, err := s.Events(t.Context(), id); err != nil || len(events) != 0 {
		t.Errorf("%d events of a machine that is forgotten, %v", len(events), err)
	}
}
