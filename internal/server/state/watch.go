package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
)

// ErrCompacted means that the past from which a watch was to go on is no
// longer kept: list the machines anew and watch from there.
var ErrCompacted = errors.New("too long ago")

// Change is what one transaction did to machines.
type Change struct {
	Revision int64
	Changes  []api.Change
}

// Watch calls each for every change after the given revision, in order, until
// ctx ends or each returns an error, which Watch returns.
func (s *Store) Watch(ctx context.Context, after int64, each func(Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Without a leader the watch is closed, not silent for ever.
	ctx = clientv3.WithRequireLeader(ctx)
	for resp := range s.Client.Watch(ctx, s.Prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
		if err := resp.Err(); err != nil {
			if errors.Is(err, rpctypes.ErrCompacted) {
				return ErrCompacted
			}
			return fmt.Errorf("watching machines: %w", err)
		}
		// The events of one transaction come together and share a revision.
		for events := resp.Events; len(events) > 0; {
			c := Change{Revision: events[0].Kv.ModRevision}
			for len(events) > 0 && events[0].Kv.ModRevision == c.Revision {
				changes, err := s.decode(events[0])
				if err != nil {
					return err
				}
				c.Changes = append(c.Changes, changes...)
				events = events[1:]
			}
			if len(c.Changes) == 0 {
				continue
			}
			if err := each(c); err != nil {
				return err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("watching machines: etcd has stopped")
}

// decode reads one etcd event. Aliases and the dropping of old events are of
// no interest to anybody.
func (s *Store) decode(e *clientv3.Event) ([]api.Change, error) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(string(e.Kv.Key), s.Prefix), "/")
	put := e.Type == mvccpb.Event_PUT
	switch {
	case kind == "machine" && !put:
		return []api.Change{{Kind: api.ChangeRemoved, ID: rest}}, nil
	case kind == "machine":
		var r record
		if err := json.Unmarshal(e.Kv.Value, &r); err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Kv.Key, err)
		}
		return []api.Change{{Kind: api.ChangeMachine, ID: rest, Machine: &r.Machine}}, nil
	case kind == "event" && put:
		var group []api.Event
		if err := json.Unmarshal(e.Kv.Value, &group); err != nil {
			return nil, fmt.Errorf("reading %s: %w", e.Kv.Key, err)
		}
		mac, _, _ := strings.Cut(rest, "/")
		changes := make([]api.Change, len(group))
		for i := range group {
			changes[i] = api.Change{Kind: api.ChangeEvent, ID: mac, Event: &group[i]}
		}
		return changes, nil
	}
	return nil, nil
}
