package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

type note struct{ Text string }

func testDocs(t *testing.T, s *state.Store) {
	const kind, name = "a kind/of", "../name%2f"
	var n note
	if found, err := docs.Get(t.Context(), s.Space, kind, name, &n); found || err != nil {
		t.Errorf("GetDoc of none = %v, %v; want false", found, err)
	}
	for i, want := range []bool{true, false} {
		if created, err := docs.Create(t.Context(), s.Space, kind, name, note{fmt.Sprint(i)}); created != want || err != nil {
			t.Errorf("CreateDoc number %d = %v, %v; want %v", i, created, err, want)
		}
	}
	if err := docs.Put(t.Context(), s.Space, kind, "other", note{"<b>"}); err != nil {
		t.Error(err)
	}
	// A kind is not the beginning of another.
	if err := docs.Put(t.Context(), s.Space, kind+"f", "far", note{}); err != nil {
		t.Error(err)
	}
	if _, err := docs.Update(t.Context(), s.Space, kind, name, func(n *note) error { n.Text += "+"; return nil }); err != nil {
		t.Error(err)
	}
	got, err := docs.List[note](t.Context(), s.Space, kind)
	if diff := cmp.Diff(map[string]note{name: {"0+"}, "other": {"<b>"}}, got); diff != "" || err != nil {
		t.Errorf("ListDocs, %v (-want +got):\n%s", err, diff)
	}
	for range 2 {
		if err := docs.Delete(t.Context(), s.Space, kind, name); err != nil {
			t.Errorf("DeleteDoc = %v; want nil, also of none", err)
		}
	}
	if found, _ := docs.Get(t.Context(), s.Space, kind, name, &n); found {
		t.Error("GetDoc of a deleted one = true")
	}
}

// second is another server's store on the same cluster.
func second(s *state.Store) *state.Store { return state.New(s.Space, NICs, nil) }

func testJoin(t *testing.T, s *state.Store) {
	const into, from = "uuid/4c4c4544-0001", "52:54:00:00:07:01"
	s = state.New(s.Space, func(m *fleet.Record) []string {
		if m.Joined != "" {
			return nil
		}
		return append([]string{"name/" + m.Spec.Name}, m.Spec.MACs...)
	}, nil)
	Update(t, s, into, Say("i1"))
	Update(t, s, from, func(m *fleet.Record) ([]api.Event, error) {
		m.Spec = api.Spec{Name: "old", MACs: []string{from, "52:54:00:00:07:02"}}
		return []api.Event{{Message: "f1"}, {Message: "f2"}}, nil
	})
	refused := errors.New("no")
	if _, err := s.Join(t.Context(), into, from, func(_, _ *fleet.Record) ([]api.Event, error) { return nil, refused }); !errors.Is(err,
		refused) {
		t.Errorf("Join = %v; want the change's own error", err)
	}
	if _, err := s.Join(t.Context(), into, "nobody", nil); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("Join with nobody = %v; want ErrNotFound", err)
	}
	_, rev, _ := s.List(t.Context())
	m, err := s.Join(t.Context(), into, from, func(into, from *fleet.Record) ([]api.Event, error) {
		into.Spec, from.Joined = from.Spec, into.ID
		return []api.Event{{Message: "joined"}}, nil
	})
	if err != nil || m.ID != into || m.Spec.Name != "old" {
		t.Fatalf("Join = %+v, %v; want %s named old", m, err, into)
	}
	if m, err := s.Get(t.Context(), from); err != nil || m.Joined != into {
		t.Errorf("Get(%s) after Join = %+v, %v; want it marked", from, m, err)
	}
	for _, label := range []string{"name/old", "52:54:00:00:07:02", into} {
		if got, err := s.Find(t.Context(), []string{label}); len(got) != 1 || got[0].ID != into || err != nil {
			t.Errorf("Find(%s) = %v, %v; want %s", label, got, err, into)
		}
	}
	var said []string
	events, err := s.Events(t.Context(), into)
	for _, e := range events {
		said = append(said, e.Message)
	}
	if want := []string{"f1", "f2", "i1", "joined"}; !slices.Equal(said, want) || err != nil {
		t.Errorf("Events = %v, %v; want %v", said, err, want)
	}
	enough := errors.New("enough")
	var kinds []string
	_ = s.Follow(t.Context(), rev)(func(c state.Change) error {
		for _, x := range c.Parts {
			kinds = append(kinds, x.Kind+" "+x.ID)
		}
		return enough
	})
	if want := []string{"event " + into, "machine " + from, "machine " + into}; !slices.Equal(kinds, want) {
		t.Errorf("Watch saw %q; want %q", kinds, want)
	}
}

func testRecent(t *testing.T, s *state.Store) {
	const a, b = "52:54:00:00:08:01", "52:54:00:00:08:02"
	Update(t, s, a, func(m *fleet.Record) ([]api.Event, error) { m.Spec.Name = "ay"; return nil, nil })
	for i := range 60 {
		Update(t, s, a, Say(fmt.Sprint("a", i)))
		Update(t, s, b, Say(fmt.Sprint("b", i), fmt.Sprint("B", i)))
	}
	got, err := s.Recent(t.Context(), 4, false)
	want := []api.LogEntry{
		{Machine: b, Event: api.Event{Message: "B59", Number: 120}},
		{Machine: b, Event: api.Event{Message: "b59", Number: 119}},
		{Machine: a, Name: "ay", Event: api.Event{Message: "a59", Number: 60}},
		{Machine: b, Event: api.Event{Message: "B58", Number: 118}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Recent(4), %v (-want +got):\n%s", err, diff)
	}
	if got, err := s.Recent(t.Context(), 150, false); len(got) != 150 ||
		got[149].Event.Message != "B10" && got[149].Event.Message != "b10" && got[149].Event.Message != "a10" {
		t.Errorf("Recent(150) = %d entries, the last %v, %v; want 150", len(got), got[len(got)-1], err)
	}
	if err := s.Delete(t.Context(), b, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Recent(t.Context(), 3, false); err != nil || len(got) == 0 ||
		slices.ContainsFunc(got, func(e api.LogEntry) bool { return e.Machine == b }) {
		t.Errorf("Recent after Delete = %v, %v; want none of %s", got, err, b)
	}
}
