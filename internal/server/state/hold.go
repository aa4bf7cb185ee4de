package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// HoldFor is how long a machine stays held after the last call of [Store.Hold].
const HoldFor = 30 * time.Second

// refreshAfter is how old a hold may be before a call renews it.
const refreshAfter = 5 * time.Second

// holdCache remembers what this process has renewed a moment ago.
type holdCache struct {
	mu   sync.Mutex
	seen map[string]heldAt
}

type heldAt struct {
	session string
	at      time.Time
}

// recent reports whether the session's hold was renewed a moment ago.
func (c *holdCache) recent(id, session string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.seen[id]
	return ok && h.session == session && now.Sub(h.at) < refreshAfter && !now.Before(h.at)
}

func (c *holdCache) note(id, session string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]heldAt{}
	}
	c.seen[id] = heldAt{session, now}
}

func (c *holdCache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, id)
}

// Hold takes or renews the right of an agent's session to be the only live
// one of a machine, for HoldFor. mine is false while another session, holder,
// has it, also by another server of the cluster. A renewal within 5 seconds of
// the last one by this server costs nothing, so for so long this server does
// not learn that another one has released the hold.
func (s *Store) Hold(ctx context.Context, id, session string) (holder string, mine bool, err error) {
	now := s.now()
	if s.holds.recent(id, session, now) {
		return session, true, nil
	}
	for {
		holder, mine, err = s.hold(ctx, id, session)
		switch {
		case err != nil:
			return "", false, fmt.Errorf("holding machine %s: %w", id, classify(ctx, err))
		case mine:
			s.holds.note(id, session, now)
			return session, true, nil
		case holder != "":
			s.holds.drop(id)
			return holder, false, nil
		}
	}
}

// hold makes one attempt; neither mine nor a holder means to try again.
func (s *Store) hold(ctx context.Context, id, session string) (holder string, mine bool, err error) {
	holder, lease, err := s.holder(ctx, id)
	if err != nil {
		return "", false, err
	}
	if holder != "" && holder != session {
		return holder, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if holder == session {
		_, err := s.Client.KeepAliveOnce(ctx, lease)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return "", false, nil
		}
		return session, err == nil, err
	}
	grant, err := s.Client.Grant(ctx, int64(HoldFor/time.Second))
	if err != nil {
		return "", false, err
	}
	resp, err := s.Client.Txn(ctx).
		If(unchanged(s.key("hold", id), 0)).
		Then(clientv3.OpPut(s.key("hold", id), session, clientv3.WithLease(grant.ID))).
		Commit()
	if err == nil && resp.Succeeded {
		return session, true, nil
	}
	// Left to itself it would end as well, but later.
	_, _ = s.Client.Revoke(ctx, grant.ID)
	return "", false, err
}

// Holder returns the session that holds a machine; empty: none does.
func (s *Store) Holder(ctx context.Context, id string) (string, error) {
	holder, _, err := s.holder(ctx, id)
	if err != nil {
		return "", fmt.Errorf("reading who holds machine %s: %w", id, err)
	}
	return holder, nil
}

func (s *Store) holder(ctx context.Context, id string) (string, clientv3.LeaseID, error) {
	resp, err := s.get(ctx, s.key("hold", id))
	if err != nil || len(resp.Kvs) == 0 {
		return "", 0, err
	}
	return string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease), nil
}

// Release gives a machine free if the session holds it.
func (s *Store) Release(ctx context.Context, id, session string) error {
	s.holds.drop(id)
	holder, lease, err := s.holder(ctx, id)
	if err == nil && holder == session && session != "" {
		// The key goes with its lease, which no other key has.
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		_, err = s.Client.Revoke(call, lease)
		if err = classify(ctx, err); errors.Is(err, rpctypes.ErrLeaseNotFound) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("releasing machine %s: %w", id, err)
	}
	return nil
}
