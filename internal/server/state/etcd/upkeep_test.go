package etcd

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
	"github.com/gild-dev/gild/internal/server/state/upkeep"
)

// A record that is written again and again takes the room of one: the past of
// keys goes by its bytes, long before it is many changes.
func TestUpkeepForgetsByBytes(t *testing.T) {
	const quota = 32 << 20
	e, err := startWithin(t.Context(), t.TempDir(), quota, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	u := upkeep.New(e.etcd, e.Client(), e.etcd.Config().Dir, quota, slog.New(slog.DiscardHandler))
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	for i := range 400 { // 80 MB
		if err := docs.Put(t.Context(), s.Space, "kind", "one", strings.Repeat("x", 200<<10)); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
		if i%20 == 0 {
			if err := u.Look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	usage, err := s.Usage(t.Context())
	if err != nil || usage.Quota != quota || usage.Size >= quota || usage.InUse == 0 || usage.Full {
		t.Errorf("Usage = %+v, %v; want less than the quota", usage, err)
	}
}

// A state that an earlier run has filled takes changes again after a start.
func TestUpkeepOfAFullState(t *testing.T) {
	const quota = 16 << 20
	dir := t.TempDir()
	e, err := startWithin(t.Context(), dir, quota, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.rest()
	e.tended.Wait()
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	storetest.Update(t, s, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) { m.Spec.Name = "kept"; return nil, nil })
	for range 200 {
		if err = docs.Put(t.Context(), s.Space, "kind", "one", strings.Repeat("x", 200<<10)); err != nil {
			break
		}
	}
	full, ok := errors.AsType[*keys.FullError](err)
	if !ok || !strings.Contains(full.Hint(), "gild doctor") {
		t.Fatalf("a full database = %v; want a *FullError with a hint", err)
	}
	if usage, err := s.Usage(t.Context()); err != nil || !usage.Full {
		t.Errorf("Usage of a full database = %+v, %v; want Full", usage, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = startWithin(t.Context(), dir, quota, nil); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s = state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	awaitRoom(t, s)
	if m, err := s.Get(t.Context(), storetest.MAC); err != nil || m.Spec.Name != "kept" {
		t.Errorf("the machine after the start = %+v, %v", m, err)
	}
	if usage, err := s.Usage(t.Context()); err != nil || usage.Full || usage.Size > quota/2 {
		t.Errorf("Usage after the start = %+v, %v; want less than half of %d", usage, err, quota)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "etcd", "member", "snap", "db.tmp*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
