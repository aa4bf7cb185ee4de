package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/addresses"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// tended is a state whose upkeep looks when the test says so.
type tended struct {
	*state.Store
	t *testing.T
	e *Embedded
	n int
}

const (
	tendedQuota = 64 << 20
	// part is so much of it that two looks find more than the past may be of.
	part = tendedQuota / 48
)

func startTended(t *testing.T) *tended {
	t.Helper()
	e, err := startWithin(t.Context(), t.TempDir(), tendedQuota, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	e.rest()
	e.tended.Wait()
	return &tended{state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil), t, e, 0}
}

// pass is a time in which one machine more is met and a part of the quota is
// written, at whose end the upkeep looks.
func (s *tended) pass(bytes int) string {
	s.t.Helper()
	mac := fmt.Sprintf("52:54:00:00:00:%02x", s.n)
	s.n++
	storetest.Update(s.t, s.Store, mac, storetest.Say("hello"))
	for ; bytes > 0; bytes -= 256 << 10 {
		if err := docs.Put(s.t.Context(), s.Space, "kind", "one", strings.Repeat("x", min(bytes, 256<<10))); err != nil {
			s.t.Fatal(err)
		}
	}
	s.e.etcd.Server.Backend().ForceCommit() // or its size is that of a moment ago
	if err := s.e.keeper.Look(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return mac
}

func (s *tended) revision() int64 {
	s.t.Helper()
	_, rev, err := s.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

// forgotten reports whether the past at a revision is no longer kept.
func (s *tended) forgotten(revision int64) bool {
	s.t.Helper()
	_, err := s.Client.Get(s.t.Context(), s.Prefix, clientv3.WithRev(revision))
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		s.t.Fatal(err)
	}
	return err != nil
}

// slow is a follower that takes a change when it is let to.
type slow struct {
	t    *testing.T
	let  chan struct{}
	met  []string
	end  context.CancelFunc
	done chan error
}

func (s *tended) slow(after int64) *slow {
	ctx, cancel := context.WithCancel(s.t.Context())
	f := &slow{s.t, make(chan struct{}), nil, cancel, make(chan error, 1)}
	s.t.Cleanup(cancel)
	each := s.Follow(ctx, after)
	go func() {
		f.done <- each(func(c state.Change) error {
			select {
			case <-f.let:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, p := range c.Parts {
				if p.Kind == api.ChangeEvent {
					f.met = append(f.met, p.ID)
				}
			}
			return nil
		})
	}()
	return f
}

// take lets it take a number of changes.
func (f *slow) take(n int) {
	f.t.Helper()
	for range n {
		select {
		case f.let <- struct{}{}:
		case err := <-f.done:
			f.t.Fatalf("a follower ended: %v", err)
		}
	}
}

// Between two looks more is written than the past may be of: it is kept for a
// follower that is slow, over several looks.
func TestUpkeepKeepsWhatAFollowerNeeds(t *testing.T) {
	s := startTended(t)
	f := s.slow(s.revision())
	var want []string
	for range 3 {
		want = append(want, s.pass(part))
	}
	f.take(len(want))
	f.end()
	if err := <-f.done; !errors.Is(err, context.Canceled) || !slices.Equal(f.met, want) {
		t.Errorf("a slow follower heard of %q, %v; want %q", f.met, err, want)
	}
}

// One that was cut off resumes where it was.
func TestUpkeepKeepsWhatOneThatComesBackNeeds(t *testing.T) {
	s := startTended(t)
	rev := s.revision()
	f := s.slow(rev)
	want := []string{s.pass(part)}
	f.end()
	<-f.done
	for range 2 {
		want = append(want, s.pass(part))
	}
	f = s.slow(rev)
	f.take(len(want))
	f.end()
	if err := <-f.done; !errors.Is(err, context.Canceled) || !slices.Equal(f.met, want) {
		t.Errorf("a follower that came back heard of %q, %v; want %q", f.met, err, want)
	}
}

// What is kept for a follower has an end, and then it is told. Those who have
// nothing to take hold nothing, and are not told.
func TestUpkeepPassesAFollowerThatIsTooSlow(t *testing.T) {
	s := startTended(t)
	rev := s.revision()
	idle := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		idle <- addresses.Watch(ctx, s.Space, rev, func(netip.Addr, addresses.Lease) {})
	}()
	f := s.slow(rev)
	for range 20 {
		s.pass(2 * part)
	}
	f.take(1)
	if err := <-f.done; !errors.Is(err, keys.ErrCompacted) {
		t.Errorf("a follower that is too slow = %v; want ErrCompacted", err)
	}
	cancel()
	if err := <-idle; !errors.Is(err, context.Canceled) {
		t.Errorf("a follower that had nothing to take = %v; want its own end", err)
	}
}

// A follower whose part of the state does not change holds nothing.
func TestUpkeepIsNotHeldByWhoHearsNothing(t *testing.T) {
	s := startTended(t)
	rev := s.revision()
	go func() { _ = addresses.Watch(t.Context(), s.Space, rev, func(netip.Addr, addresses.Lease) {}) }()
	s.pass(2 * part)
	for range 1000 { // how far it is, it learns between two looks
		if s.pass(0); s.forgotten(rev) {
			return
		}
	}
	t.Error("the past is kept for a follower that has nothing to hear of it")
}
