package tftpd

import (
	"cmp"
	"container/list"
	"context"
	"net/netip"
	"time"
)

// entry is a live transfer as the dispatcher sees it.
type entry struct {
	peer   netip.AddrPort
	req    request
	cancel context.CancelCauseFunc
	place  *list.Element // in fresh, nil once the client has acknowledged
	began  time.Time
	moved  time.Time // when the client last made progress
	acked  int64     // bytes that it has acknowledged
	again  func()    // sends the first packet once more
}

// youngest is the age below which nothing is said of how fast a transfer is.
const youngest = 5 * time.Second

// rate is how fast a transfer goes, in bytes a second.
func (e *entry) rate(now time.Time) float64 { return float64(e.acked) / now.Sub(e.began).Seconds() }

// admit registers a transfer, or returns nil when the request repeats one that
// is running, or there is no place. A full table sheds the oldest client that
// has never answered: real ones answer within milliseconds, spoofed ones never.
// Where all have, the slowest goes, and so does the slowest of an address that
// has all of its places.
func (s *Server) admit(ctx context.Context, peer netip.AddrPort, req request) (*entry, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if old := s.live[peer]; old != nil {
		// The same request again is most often one whose answer was lost or is under
		// way: the transfer already sends it again, and a new one would have another
		// port. If the client got somewhere and then stopped, it is a machine that
		// starts anew.
		if old.req == req && old.place != nil {
			old.again()
			return nil, nil
		}
		if old.req == req && now.Sub(old.moved) < 3*s.timeout() {
			return nil, nil
		}
		s.drop(old, errReplaced)
	}
	if s.places[peer.Addr()] >= cmp.Or(s.MaxPerClient, DefaultMaxPerClient) && !s.shed(now, peer.Addr()) ||
		len(s.live) >= cmp.Or(s.MaxTransfers, DefaultMaxTransfers) && !s.shed(now, netip.Addr{}) {
		s.log().Warn("TFTP request dropped: too many transfers", "client", peer, "live", len(s.live))
		return nil, nil
	}
	tctx, cancel := context.WithCancelCause(ctx)
	e := &entry{peer: peer, req: req, cancel: cancel, began: now, moved: now, again: func() {}}
	e.place = s.fresh.PushBack(e)
	s.live[peer] = e
	s.places[peer.Addr()]++
	return e, tctx
}

// shed ends a transfer for another one, of one address or of any; the caller
// holds mu.
func (s *Server) shed(now time.Time, of netip.Addr) bool {
	for place := s.fresh.Front(); place != nil; place = place.Next() {
		if e := place.Value.(*entry); !of.IsValid() || e.peer.Addr() == of {
			s.drop(e, errShed)
			return true
		}
	}
	var slowest *entry
	for _, e := range s.live {
		if of.IsValid() && e.peer.Addr() != of || now.Sub(e.began) < youngest {
			continue
		}
		if slowest == nil || e.rate(now) < slowest.rate(now) {
			slowest = e
		}
	}
	if slowest == nil {
		return false
	}
	s.drop(slowest, errSlow)
	return true
}

// drop ends a transfer and forgets it; the caller holds mu.
func (s *Server) drop(e *entry, why error) {
	e.cancel(why)
	if s.live[e.peer] == e {
		delete(s.live, e.peer)
		if s.places[e.peer.Addr()]--; s.places[e.peer.Addr()] <= 0 {
			delete(s.places, e.peer.Addr())
		}
	}
	s.settle(e)
}

// settle takes e from the clients that have not answered yet; the caller holds
// mu.
func (s *Server) settle(e *entry) {
	if e.place != nil {
		s.fresh.Remove(e.place)
		e.place = nil
	}
}

func (s *Server) leave(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(e, nil)
}
