package state

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// Guard is the moment of a look at many records on which a change of one rests:
// that nobody else has a name, for instance.
type Guard struct {
	key string
	rev int64
}

// ErrMoved means that the look is out of date: look again.
var ErrMoved = errors.New("changed by somebody else in between")

// Guard is called before the look. Changes of different names do not mind each
// other.
func (s *Store) Guard(ctx context.Context, name string) (Guard, error) {
	g := Guard{key: s.Key("guard", name)}
	resp, err := s.Read(ctx, g.key)
	if err != nil {
		return g, fmt.Errorf("reading guard %s: %w", name, err)
	}
	if len(resp.Kvs) > 0 {
		g.rev = resp.Kvs[0].ModRevision
	}
	return g, nil
}

// UpdateGuarded is [Store.Update] unless the guard, or the record, was changed
// since: then nothing is, and the error is ErrMoved. Of several that began with
// the same guard, on any server, one succeeds. It can continue with the guard:
// what it looked at has only changed by its own hand.
func (s *Store) UpdateGuarded(ctx context.Context, g *Guard, id string, change func(*fleet.Record) ([]api.Event, error)) (fleet.Record,
	error,
) {
	m, done, rev, err := s.tryUpdate(ctx, id, change, []clientv3.Op{clientv3.OpPut(g.key, "")}, []clientv3.Cmp{keys.Unchanged(g.key, g.rev)})
	if err == nil && !done {
		err = fmt.Errorf("changing machine %s: %w", id, ErrMoved)
	}
	if err != nil {
		return fleet.Record{}, err
	}
	g.rev = rev
	return m, nil
}
