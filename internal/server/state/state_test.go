package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

const (
	mac   = "52:54:00:00:00:01"
	other = "52:54:00:00:00:02"
)

// open starts an etcd for the test.
func open(t *testing.T) *Store {
	t.Helper()
	e, err := Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return &Store{Client: e.Client(), Prefix: "/gild/", Aliases: nicMACs}
}

func nicMACs(m *fleet.Record) []string {
	macs := []string{m.MAC}
	if m.Inventory != nil {
		for _, n := range m.Inventory.NICs {
			macs = append(macs, n.MAC)
		}
	}
	return macs
}

func update(t *testing.T, s *Store, mac string, change func(*fleet.Record) ([]api.Event, error)) fleet.Record {
	t.Helper()
	m, err := s.Update(t.Context(), mac, change)
	if err != nil {
		t.Fatalf("Update(%s) = %v; want nil", mac, err)
	}
	return m
}

func say(msgs ...string) func(*fleet.Record) ([]api.Event, error) {
	return func(m *fleet.Record) ([]api.Event, error) {
		var events []api.Event
		for _, msg := range msgs {
			m.Message = msg
			events = append(events, api.Event{Message: msg})
		}
		return events, nil
	}
}

func TestStore(t *testing.T) { testAll(t, open(t)) }

// One etcd serves all of these: it takes a second to start.
func testAll(t *testing.T, s *Store) {
	t.Run("unknown", func(t *testing.T) {
		if _, err := s.Get(t.Context(), mac); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get of an unknown machine = %v; want ErrNotFound", err)
		}
		if err := s.Delete(t.Context(), mac, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); !errors.Is(err, ErrNotFound) {
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
	t.Run("servers", func(t *testing.T) { testServers(t, s) })
	t.Run("live part", func(t *testing.T) { testLive(t, s) })
	t.Run("watch", func(t *testing.T) { testWatch(t, s) })
}

func testUpdate(t *testing.T, s *Store) {
	update(t, s, mac, say("<one>", "two"))
	refused := errors.New("no")
	if _, err := s.Update(t.Context(), mac, func(m *fleet.Record) ([]api.Event, error) {
		m.Message = "lost"
		return []api.Event{{Message: "lost"}}, refused
	}); !errors.Is(err, refused) {
		t.Errorf("Update = %v; want the change's own error", err)
	}
	m, err := s.Get(t.Context(), mac)
	if err != nil || m.Message != "two" || m.MAC != mac {
		t.Errorf("Get = %+v, %v; want message two", m, err)
	}
	events, err := s.Events(t.Context(), mac)
	if diff := cmp.Diff([]api.Event{{Message: "<one>", Number: 1}, {Message: "two", Number: 2}}, events); diff != "" || err != nil {
		t.Errorf("Events (-want +got), %v:\n%s", err, diff)
	}
	if err := s.Delete(t.Context(), mac, func(*fleet.Record) ([]api.Event, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("Delete = %v; want the refusal", err)
	}
	if err := s.Delete(t.Context(), mac, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Errorf("Delete = %v; want nil", err)
	}
	if events, _ := s.Events(t.Context(), mac); len(events) != 0 {
		t.Errorf("Events of a deleted machine = %v; want none", events)
	}
}

// Every one of many changes at once must count: none may overwrite another.
func testConcurrent(t *testing.T, s *Store) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := s.Update(t.Context(), mac, func(m *fleet.Record) ([]api.Event, error) {
					m.Seq++
					return []api.Event{{Seq: m.Seq}}, nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m, _ := s.Get(t.Context(), mac)
	events, _ := s.Events(t.Context(), mac)
	if m.Seq != 80 || len(events) != 80 {
		t.Errorf("after 80 changes: count %d, %d events; want 80, 80", m.Seq, len(events))
	}
}

func testAliases(t *testing.T, s *Store) {
	const a, b, c = "52:54:00:00:01:0a", "52:54:00:00:01:0b", "52:54:00:00:01:0c"
	nics := func(macs ...string) {
		update(t, s, a, func(m *fleet.Record) ([]api.Event, error) {
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

func testBounded(t *testing.T, s *Store) {
	const mac = "52:54:00:00:02:01"
	var n int
	for range 12 {
		batch := make([]string, 100)
		for i := range batch {
			batch[i] = fmt.Sprint(n)
			n++
		}
		update(t, s, mac, say(batch...))
	}
	events, err := s.Events(t.Context(), mac)
	if err != nil || len(events) != KeptEvents || events[len(events)-1].Message != fmt.Sprint(n-1) {
		t.Errorf("Events after %d = %d, %v; want the last %d", n, len(events), err, KeptEvents)
	}
}

func testWatch(t *testing.T, s *Store) {
	_, rev, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	update(t, s, other, say("hello"))
	if err := s.Delete(t.Context(), other, func(*fleet.Record) ([]api.Event, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	var kinds []string
	err = s.Follow(t.Context(), rev)(func(c Change) error {
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
	if err := s.Follow(ctx, rev)(func(Change) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch after its context's end = %v; want DeadlineExceeded", err)
	}
	_, now, _ := s.List(t.Context())
	if _, err := s.Client.Compact(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(t.Context(), rev)(func(Change) error { return nil }); !errors.Is(err, ErrCompacted) {
		t.Errorf("Watch from a compacted revision = %v; want ErrCompacted", err)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	e, err := Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), dir, nil)
	if locked, ok := errors.AsType[*LockedError](err); !ok || locked.PID != os.Getpid() || locked.Hint() == "" {
		t.Errorf("Start of a locked directory = %v; want a LockedError with pid %d", err, os.Getpid())
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, err = Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("Start after Close = %v; want nil", err)
	}
	e.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, "/proc/nothing"} {
		_, err := Start(t.Context(), dir, nil)
		if e, ok := errors.AsType[*DirError](err); !ok || e.Hint() == "" {
			t.Errorf("Start(%s) = %v; want a DirError with a hint", dir, err)
		}
	}
}
