// Package leasestest is the contract of where the servers of a cluster see who
// has which address.
package leasestest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/server/dhcpd"
)

// Store is a store of leases that several servers have in common.
type Store struct {
	// Servers are its users, two or more.
	Servers []dhcpd.Claims
	// Held is what a server that is started now reads: every lease that runs
	// must be in it, and others may.
	Held func(t *testing.T) map[netip.Addr]dhcpd.Lease
	// Slack is how long after its end a lease may still be its holder's.
	Slack time.Duration
}

// Run holds a store to the contract: no address is two clients' at once, the
// holder of one keeps it, whoever is refused hears who has it, and what has
// ended or was released is anybody's. open makes an empty store.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { random(t, open(t), seed) })
	}
	t.Run("at once", func(t *testing.T) { together(t, open(t)) })
}

// walk is one random series of claims and releases, with what must be so.
type walk struct {
	Store
	*rand.Rand
	now  time.Time
	held map[netip.Addr]dhcpd.Lease // the last lease of each address that was granted and not released
}

const (
	steps     = 300
	addresses = 4
	clients   = 6
	longest   = 3600 // seconds of a lease
)

func address(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 2, byte(i + 1)}) }

func random(t *testing.T, s Store, seed uint64) {
	w := walk{s, rand.New(rand.NewPCG(seed, 0)), time.Unix(1e9, 0).UTC(), map[netip.Addr]dhcpd.Lease{}}
	for i := range steps {
		switch w.IntN(8) {
		case 0:
			w.release()
		case 1:
			w.now = w.now.Add(time.Duration(w.IntN(longest)) * time.Second)
		default:
			w.claim(t)
		}
		if i%50 == 0 {
			w.reads(t)
		}
		if t.Failed() {
			t.Fatalf("after %d steps", i+1)
		}
	}
	w.reads(t)
	w.live(t)
}

func (w *walk) server() dhcpd.Claims { return w.Servers[w.IntN(len(w.Servers))] }

// client may be any bytes.
func (w *walk) client() string { return fmt.Sprintf("mac:\xff%c", w.IntN(clients)) }

func (w *walk) claim(t *testing.T) {
	t.Helper()
	a := address(w.IntN(addresses))
	want := dhcpd.Lease{Client: w.client(), Until: w.now.Add(time.Duration(1+w.IntN(longest)) * time.Second), Trial: w.IntN(2) == 0}
	had, was := w.held[a]
	runs := was && had.Until.After(w.now)
	over := !was || !had.Until.Add(w.Slack).After(w.now)
	holder, ok, err := w.server().Claim(a, want, w.now)
	switch {
	case err != nil:
		t.Errorf("Claim(%v, %q) = %v", a, want.Client, err)
	case ok && runs && had.Client != want.Client:
		t.Errorf("%v is given to %q while it is %q's until %v (now %v)", a, want.Client, had.Client, had.Until, w.now)
	case !ok && was && had.Client == want.Client:
		t.Errorf("%v is refused to its holder %q: it is %q's", a, want.Client, holder.Client)
	case !ok && over:
		t.Errorf("%v is refused to %q although it is nobody's: %+v", a, want.Client, holder)
	case !ok && (holder.Client != had.Client || holder.Trial != had.Trial || holder.Until.Before(had.Until)):
		t.Errorf("%v is refused for the sake of %+v; it is %+v's", a, holder, had)
	case ok:
		w.held[a] = want
	}
}

// release gives an address back, in the name of its holder or of somebody else.
func (w *walk) release() {
	a, client := address(w.IntN(addresses)), w.client()
	w.server().Release(a, client)
	if w.held[a].Client == client {
		delete(w.held, a)
	}
}

// reads is what a server that is started now must find.
func (w *walk) reads(t *testing.T) {
	t.Helper()
	read := w.Held(t)
	for a, l := range w.held {
		if got := read[a]; l.Until.After(w.now) && (got.Client != l.Client || got.Trial != l.Trial || got.Until.Before(l.Until)) {
			t.Errorf("of %v a server reads %+v; want %+v", a, got, l)
		}
	}
	for a, l := range read {
		if _, ok := w.held[a]; !ok && l.Client != "" {
			t.Errorf("of %v, which was released, a server reads %+v", a, l)
		}
	}
}

// live has every address taken by a client that never had one, once all leases
// are over.
func (w *walk) live(t *testing.T) {
	t.Helper()
	w.now = w.now.Add(longest*time.Second + w.Slack)
	for i := range addresses {
		holder, ok, err := w.server().Claim(address(i), dhcpd.Lease{Client: "late", Until: w.now.Add(time.Hour)}, w.now)
		if !ok || err != nil {
			t.Errorf("%v is never free again: it is %+v's, %v", address(i), holder, err)
		}
	}
}

// together has many clients claim one address of all servers at once: one gets
// it, and the others hear which.
func together(t *testing.T, s Store) {
	now := time.Unix(1e9, 0).UTC()
	for round := range 5 {
		a := address(round)
		var mu sync.Mutex
		won, told := map[string]bool{}, map[string]bool{}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				client := fmt.Sprintf("client %d", i)
				holder, ok, err := s.Servers[i%len(s.Servers)].Claim(a, dhcpd.Lease{Client: client, Until: now.Add(time.Hour)}, now)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Errorf("Claim(%v, %q) = %v", a, client, err)
				case ok:
					won[client] = true
				default:
					told[holder.Client] = true
				}
			})
		}
		all.Wait()
		if len(won) != 1 || len(told) != 1 {
			t.Errorf("%v was given to %v, and the others were told of %v; want one and the same", a, won, told)
		}
		for client := range told {
			if !won[client] {
				t.Errorf("%v was given to %v, and the others were told of %v", a, won, told)
			}
		}
	}
}
