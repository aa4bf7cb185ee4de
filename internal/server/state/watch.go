package state

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
)

// Change is what one transaction did to machines.
type Change struct {
	Revision int64
	Parts    []Part
}

// Part is one thing of a change: see [api.Change].
type Part struct {
	Kind, ID string
	Record   *fleet.Record // how the machine is stored now
	Event    *api.Event
}

// Follow begins to follow all changes after a revision; what it returns calls
// take for each of them, in order, until take returns an error, or ctx ends,
// with which the watch ends too. What has changed meanwhile is kept, within
// bounds; [keys.ErrCompacted] means that it was too much.
func (s *Store) Follow(ctx context.Context, after int64) (each func(take func(Change) error) error) {
	changes := s.Client.Watch(clientv3.WithRequireLeader(ctx), s.Prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1))
	w := watcher{Store: s, records: map[string]*record{}}
	return func(take func(Change) error) error {
		return keys.EachChange(ctx, changes, func(events []*clientv3.Event) error {
			// The events of one transaction come together and share a revision.
			for len(events) > 0 {
				n := 1
				for n < len(events) && events[n].Kv.ModRevision == events[0].Kv.ModRevision {
					n++
				}
				c, err := w.change(ctx, events[:n])
				if err != nil {
					return keys.WatchError(err)
				}
				if events = events[n:]; len(c.Parts) > 0 {
					err = take(c)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// watcher puts the two parts of a record together as each of them changes.
type watcher struct {
	*Store
	records map[string]*record // by ID, of those that have changed
}

// change reads the etcd events of one transaction. Those of joins, aliases and
// the dropping of old events are of no interest to anybody.
func (w *watcher) change(ctx context.Context, events []*clientv3.Event) (Change, error) {
	c := Change{Revision: events[0].Kv.ModRevision}
	var changed []string
	var happened []Part
	for _, e := range events {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(string(e.Kv.Key), w.Prefix), "/")
		id := keys.LastPart(e.Kv.Key)
		put := e.Type == mvccpb.Event_PUT
		switch {
		case put && slices.Contains(past.Kinds[:], kind):
			group := past.Groups([]*mvccpb.KeyValue{e.Kv})
			for i := range group {
				happened = append(happened, Part{Kind: api.ChangeEvent, ID: past.EventMachine(rest), Event: &group[i]})
			}
		case kind == "machine" && !put:
			delete(w.records, id)
			c.Parts = append(c.Parts, Part{Kind: api.ChangeRemoved, ID: id})
		case (kind == "machine" || kind == "live") && put:
			if err := w.take(ctx, id, kind == "machine", e.Kv); err != nil {
				return c, err
			}
			if !slices.Contains(changed, id) {
				changed = append(changed, id)
			}
		}
	}
	// One transaction is told in its order, whatever shelves it went to.
	slices.SortStableFunc(happened, func(a, b Part) int { return cmp.Compare(a.Event.Number, b.Event.Number) })
	c.Parts = append(c.Parts, happened...)
	for _, id := range changed {
		m := w.records[id].Record
		c.Parts = append(c.Parts, Part{Kind: api.ChangeMachine, ID: id, Record: &m})
	}
	return c, nil
}

// take lays a part that has changed over the rest of its record, which is
// read the first time, as it was at that revision.
func (w *watcher) take(ctx context.Context, id string, whole bool, kv *mvccpb.KeyValue) error {
	if r := w.records[id]; r != nil {
		if !whole {
			r.readLittle(kv)
			return nil
		}
		next := record{}
		next.readWhole(kv)
		// What follows every second comes from the little part alone.
		if next.damage == nil && r.damage == nil {
			next.lay(r.little())
		}
		*r = next
		return nil
	}
	records, err := loadAt(ctx, w.Store, kv.ModRevision, id)
	if err != nil {
		return err
	}
	w.records[id] = &records[0]
	return nil
}
