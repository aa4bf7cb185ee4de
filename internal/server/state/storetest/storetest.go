// Package storetest holds the tests that a store passes on any etcd, of one
// member or of several.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
	"github.com/gild-dev/gild/internal/server/state/presence"
)

const (
	// MAC is the machine of most tests.
	MAC   = "52:54:00:00:00:01"
	other = "52:54:00:00:00:02"
)

// NICs are the aliases of a machine here: the MACs of its cards.
func NICs(m *fleet.Record) []string {
	macs := []string{m.MAC}
	if m.Inventory != nil {
		for _, n := range m.Inventory.NICs {
			macs = append(macs, n.MAC)
		}
	}
	return macs
}

// Update is [state.Store.Update] that must not fail.
func Update(t *testing.T, s *state.Store, mac string, change func(*fleet.Record) ([]api.Event, error)) fleet.Record {
	t.Helper()
	m, err := s.Update(t.Context(), mac, change)
	if err != nil {
		t.Fatalf("Update(%s) = %v; want nil", mac, err)
	}
	return m
}

// Say is a change that says something, an event each.
func Say(msgs ...string) func(*fleet.Record) ([]api.Event, error) {
	return func(m *fleet.Record) ([]api.Event, error) {
		var events []api.Event
		for _, msg := range msgs {
			m.Message = msg
			events = append(events, api.Event{Message: msg})
		}
		return events, nil
	}
}

// Run holds a store against all of them. One etcd serves them all, as it takes
// a second to start.
func Run(t *testing.T, s *state.Store) {
	t.Run("unknown", func(t *testing.T) {
		if _, err := s.Get(t.Context(), MAC); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("Get of an unknown machine = %v; want ErrNotFound", err)
		}
		if err := s.Delete(t.Context(), MAC, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("Delete of an unknown machine = %v; want ErrNotFound", err)
		}
	})
	t.Run("update", func(t *testing.T) { testUpdate(t, s) })
	t.Run("concurrent", func(t *testing.T) { testConcurrent(t, s) })
	t.Run("aliases", func(t *testing.T) { testAliases(t, s) })
	t.Run("bounded past", func(t *testing.T) { testBounded(t, s) })
	t.Run("documents", func(t *testing.T) { testDocs(t, s) })
	t.Run("address leases", func(t *testing.T) { testClaim(t, s) })
	t.Run("join", func(t *testing.T) { testJoin(t, s) })
	t.Run("recent", func(t *testing.T) { testRecent(t, s) })
	t.Run("shelves", func(t *testing.T) { testShelves(t, s) })
	t.Run("servers", func(t *testing.T) { Servers(t, s) })
	t.Run("live part", func(t *testing.T) { testLive(t, s) })
	t.Run("watch", func(t *testing.T) { testWatch(t, s) })
}

func testUpdate(t *testing.T, s *state.Store) {
	Update(t, s, MAC, Say("<one>", "two"))
	refused := errors.New("no")
	if _, err := s.Update(t.Context(), MAC, func(m *fleet.Record) ([]api.Event, error) {
		m.Message = "lost"
		return []api.Event{{Message: "lost"}}, refused
	}); !errors.Is(err, refused) {
		t.Errorf("Update = %v; want the change's own error", err)
	}
	m, err := s.Get(t.Context(), MAC)
	if err != nil || m.Message != "two" || m.MAC != MAC {
		t.Errorf("Get = %+v, %v; want message two", m, err)
	}
	events, err := s.Events(t.Context(), MAC)
	if diff := cmp.Diff([]api.Event{{Message: "<one>", Number: 1}, {Message: "two", Number: 2}}, events); diff != "" || err != nil {
		t.Errorf("Events (-want +got), %v:\n%s", err, diff)
	}
	if err := s.Delete(t.Context(), MAC, func(*fleet.Record) ([]api.Event, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("Delete = %v; want the refusal", err)
	}
	if err := s.Delete(t.Context(), MAC, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Errorf("Delete = %v; want nil", err)
	}
	if events, _ := s.Events(t.Context(), MAC); len(events) != 0 {
		t.Errorf("Events of a deleted machine = %v; want none", events)
	}
}

// Every one of many changes at once must count: none may overwrite another.
func testConcurrent(t *testing.T, s *state.Store) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := s.Update(t.Context(), MAC, func(m *fleet.Record) ([]api.Event, error) {
					m.Seq++
					return []api.Event{{Seq: m.Seq}}, nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m, _ := s.Get(t.Context(), MAC)
	events, _ := s.Events(t.Context(), MAC)
	if m.Seq != 80 || len(events) != 80 {
		t.Errorf("after 80 changes: count %d, %d events; want 80, 80", m.Seq, len(events))
	}
}

func testAliases(t *testing.T, s *state.Store) {
	const a, b, c = "52:54:00:00:01:0a", "52:54:00:00:01:0b", "52:54:00:00:01:0c"
	nics := func(macs ...string) {
		Update(t, s, a, func(m *fleet.Record) ([]api.Event, error) {
			m.Inventory = &api.Inventory{}
			for _, mac := range macs {
				m.Inventory.NICs = append(m.Inventory.NICs, api.NIC{MAC: mac})
			}
			return nil, nil
		})
	}
	find := func(mac string, want int) {
		t.Helper()
		got, err := s.Find(t.Context(), []string{mac})
		if err != nil || len(got) != want {
			t.Errorf("Find(%s) = %d machines, %v; want %d", mac, len(got), err, want)
		}
	}
	nics(a, b)
	find(a, 1)
	find(b, 1)
	find(c, 0)
	nics(a, c)
	find(b, 0)
	find(c, 1)
	if err := s.Delete(t.Context(), a, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	find(c, 0)
}

func testBounded(t *testing.T, s *state.Store) {
	const mac = "52:54:00:00:02:01"
	var n int
	for range 12 {
		batch := make([]string, 100)
		for i := range batch {
			batch[i] = fmt.Sprint(n)
			n++
		}
		Update(t, s, mac, Say(batch...))
	}
	events, err := s.Events(t.Context(), mac)
	if err != nil || len(events) != past.KeptEvents || events[len(events)-1].Message != fmt.Sprint(n-1) {
		t.Errorf("Events after %d = %d, %v; want the last %d", n, len(events), err, past.KeptEvents)
	}
}

func testWatch(t *testing.T, s *state.Store) {
	_, rev, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	Update(t, s, other, Say("hello"))
	if err := s.Delete(t.Context(), other, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	var kinds []string
	err = s.Follow(t.Context(), rev)(func(c state.Change) error {
		for _, x := range c.Parts {
			kinds = append(kinds, x.Kind+" "+x.ID)
		}
		if len(kinds) == 3 {
			return enough
		}
		return nil
	})
	want := []string{"event " + other, "machine " + other, "removed " + other}
	if diff := cmp.Diff(want, kinds); diff != "" || !errors.Is(err, enough) {
		t.Errorf("Watch = %v (-want +got):\n%s", err, diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Follow(ctx, rev)(func(state.Change) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch after its context's end = %v; want DeadlineExceeded", err)
	}
	_, now, _ := s.List(t.Context())
	if _, err := s.Client.Compact(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(t.Context(), rev)(func(state.Change) error { return nil }); !errors.Is(err, keys.ErrCompacted) {
		t.Errorf("Watch from a compacted revision = %v; want ErrCompacted", err)
	}
}

// Servers holds presence against a store: a server is named while it lives.
func Servers(t *testing.T, s *state.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- presence.Announce(ctx, s.Space, func() (api.Server, <-chan struct{}) {
			return api.Server{Name: "a", BaseURL: "http://10.0.0.1:8080"}, nil
		})
	}()
	named := func(want int) {
		t.Helper()
		var got []api.Server
		for range 50 {
			if got, _ = presence.Servers(t.Context(), s.Space); len(got) == want {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("Servers = %v; want %d", got, want)
	}
	named(1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Announce = %v; want Canceled", err)
	}
	named(0)
}

// Progress is written without the rest of the record, and watchers see both.
func testLive(t *testing.T, s *state.Store) {
	const id = "52:54:00:00:09:01"
	Update(t, s, id, func(m *fleet.Record) ([]api.Event, error) {
		m.Inventory = &api.Inventory{MAC: id, Product: strings.Repeat("x", 4096)}
		return nil, nil
	})
	_, rev, _ := s.List(t.Context())
	Update(t, s, id, func(m *fleet.Record) ([]api.Event, error) {
		m.Seq, m.Progress, m.LastSeen = 7, &api.Progress{Done: 5}, time.Unix(1e9, 0)
		return nil, nil
	})
	Update(t, s, id, func(m *fleet.Record) ([]api.Event, error) { m.State = "flashing"; return nil, nil })
	before, err := s.Read(t.Context(), s.Key("machine", id))
	if err != nil || strings.Contains(string(before.Kvs[0].Value), "progress") {
		t.Errorf("the whole part is %s, %v; want it without progress", before.Kvs[0].Value, err)
	}
	enough := errors.New("enough")
	var seen []fleet.Record
	_ = s.Follow(t.Context(), rev)(func(c state.Change) error {
		for _, x := range c.Parts {
			seen = append(seen, *x.Record)
		}
		if len(seen) == 2 {
			return enough
		}
		return nil
	})
	for i, m := range seen {
		if m.Progress == nil || m.Progress.Done != 5 || m.Seq != 7 || m.Inventory == nil || m.ID != id {
			t.Errorf("change %d is %+v; want progress and inventory", i, m)
		}
	}
	if len(seen) != 2 || seen[1].State != "flashing" || seen[0].State != "" {
		t.Errorf("Watch gave %d machines; want progress, then the state", len(seen))
	}
	_, rev, _ = s.List(t.Context())
	Update(t, s, id, func(*fleet.Record) ([]api.Event, error) { return nil, nil })
	if _, now, _ := s.List(t.Context()); now != rev {
		t.Errorf("a change of nothing made revision %d of %d", now, rev)
	}
}
