package state

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// Update changes one machine. change gets the record (only its ID is set, and
// its MAC if the ID is one, when there is none yet) and returns the events to
// append to its past; an error from it changes nothing and is returned as it
// is. When somebody else changed the record meanwhile, change is called again
// with what it became, so it must have no effects of its own. The record as
// stored is returned. Those who change one record take [turns.Turns]: a crowd
// costs as many transactions as it has changes.
func (s *Store) Update(ctx context.Context, id string, change func(*fleet.Record) ([]api.Event, error)) (fleet.Record, error) {
	wait, cancel := context.WithTimeout(ctx, keys.ReadTimeout)
	done, err := s.turns.Take(wait, id)
	cancel()
	if err != nil {
		return fleet.Record{}, keys.Classify(ctx, fmt.Errorf("waiting for those who change machine %s: %w", id, err))
	}
	defer done()
	for {
		if m, done, _, err := s.tryUpdate(ctx, id, change, nil, nil); done || err != nil {
			return m, err
		}
	}
}

// tryUpdate is one try of an update, in one transaction with more and on more
// conditions; done is false when somebody was faster, rev as in commit.
func (s *Store) tryUpdate(ctx context.Context, id string, change func(*fleet.Record) ([]api.Event, error), more []clientv3.Op,
	conditions []clientv3.Cmp,
) (m fleet.Record, done bool, rev int64, err error) {
	records, err := s.load(ctx, id)
	if err != nil {
		return m, false, 0, err
	}
	r := &records[0]
	if r.damage != nil {
		return m, false, 0, fmt.Errorf("changing machine %s: %w", id, r.damage)
	}
	before := s.aliases(r)
	events, err := change(&r.Record)
	if err != nil {
		return m, false, 0, err
	}
	done, rev, err = s.commit(ctx, id, r, before, events, more, conditions)
	if err != nil {
		return m, false, 0, fmt.Errorf("changing machine %s: %w", id, err)
	}
	return r.Record, done, rev, nil
}

// commit writes what has changed of a record, its aliases and its events in
// one transaction with more, unless the record was changed by somebody else.
// rev is its revision; 0 when there was nothing to write.
func (s *Store) commit(ctx context.Context, id string, r *record, before []string, events []api.Event, more []clientv3.Op,
	conditions []clientv3.Cmp,
) (done bool, rev int64, err error) {
	r.ID = id
	eventOps, err := s.past.Append(id, &r.Record, &r.events, events)
	if err != nil {
		return false, 0, err
	}
	whole, little, err := r.split()
	if err != nil {
		return false, 0, err
	}
	ops := slices.Concat(more, eventOps)
	if whole != r.stored {
		ops = append(ops, s.aliasOps(id, before, s.aliasesOf(&r.Record))...)
		ops = append(ops, clientv3.OpPut(s.Key("machine", id), whole))
	}
	if little != r.storedNow {
		ops = append(ops, clientv3.OpPut(s.Key("live", id), little))
	}
	if len(ops) == 0 {
		return true, 0, nil
	}
	resp, err := s.Txn(ctx, append(conditions, s.same(id, r)...), ops...)
	switch {
	case err == nil:
		done, rev = resp.Succeeded, resp.Header.Revision
	case keys.Unsure(err):
		if rev, done = s.landed(ctx, id, r, whole, little); !done {
			return false, 0, err
		}
	default:
		return false, 0, err
	}
	s.past.Trim(ctx, events)
	return done, rev, nil
}

// landed looks whether a write whose outcome is not known was made: whether the
// record is what it was to become. That it is not proves nothing, as the write
// may still be under way.
func (s *Store) landed(ctx context.Context, id string, before *record, whole, little string) (rev int64, yes bool) {
	records, err := s.load(ctx, id)
	if err != nil {
		return 0, false
	}
	now := &records[0]
	rev = max(now.rev, now.revNow)
	return rev, now.stored == whole && now.storedNow == little && rev > max(before.rev, before.revNow)
}

// same holds while nobody else has changed the record.
func (s *Store) same(id string, r *record) []clientv3.Cmp {
	return []clientv3.Cmp{keys.Unchanged(s.Key("machine", id), r.rev), keys.Unchanged(s.Key("live", id), r.revNow)}
}

// aliases are those that a record is stored with.
func (s *Store) aliases(r *record) []string {
	if r.rev == 0 {
		return nil
	}
	return s.aliasesOf(&r.Record)
}

func (s *Store) aliasesOf(m *fleet.Record) []string {
	if s.aliasesFor == nil {
		return nil
	}
	all := s.aliasesFor(m)
	return all[:min(len(all), MaxAliases)]
}

func (s *Store) aliasOps(id string, before, after []string) []clientv3.Op {
	var ops []clientv3.Op
	for _, a := range before {
		if a != id && !slices.Contains(after, a) {
			ops = append(ops, clientv3.OpDelete(s.Key("alias", a, id)))
		}
	}
	for i, a := range after {
		// etcd refuses a transaction that writes a key twice.
		if a != id && !slices.Contains(before, a) && !slices.Contains(after[:i], a) {
			ops = append(ops, clientv3.OpPut(s.Key("alias", a, id), ""))
		}
	}
	return ops
}

// Join makes one record of two that turned out to be one machine: change
// brings what is worth keeping of from into into, as for [Store.Update], and
// marks from, in the same transaction. The events of from are kept in front of
// those of into, too. Either record missing is ErrNotFound.
func (s *Store) Join(ctx context.Context, into, from string, change func(into, from *fleet.Record) ([]api.Event, error)) (fleet.Record,
	error,
) {
	for {
		records, err := s.load(ctx, into, from)
		if err != nil {
			return fleet.Record{}, err
		}
		for i, id := range []string{into, from} {
			if records[i].rev == 0 {
				return fleet.Record{}, fmt.Errorf("joining %s with %s: machine %s: %w", into, from, id, ErrNotFound)
			}
			if err := records[i].damage; err != nil {
				return fleet.Record{}, fmt.Errorf("joining %s with %s: %w", into, from, err)
			}
		}
		a, b := &records[0], &records[1]
		before, gone := s.aliases(a), s.aliases(b)
		past, err := s.past.Joined(ctx, into, from)
		if err != nil {
			return fleet.Record{}, err
		}
		events, err := change(&a.Record, &b.Record)
		if err != nil {
			return fleet.Record{}, err
		}
		whole, little, err := b.split()
		if err != nil {
			return fleet.Record{}, err
		}
		ops := append(s.aliasOps(from, gone, s.aliasesOf(&b.Record)), past...)
		ops = append(ops, clientv3.OpPut(s.Key("machine", from), whole), clientv3.OpPut(s.Key("live", from), little))
		done, _, err := s.commit(ctx, into, a, before, events, ops, s.same(from, b))
		if err != nil {
			return fleet.Record{}, fmt.Errorf("joining %s with %s: %w", into, from, err)
		}
		if done {
			return a.Record, nil
		}
	}
}

// Delete forgets a machine and its past, or returns ErrNotFound. last may
// refuse, with the record as it is at that moment; what it returns is the last
// that is kept of the machine, in the log.
func (s *Store) Delete(ctx context.Context, id string, last func(*fleet.Record) ([]api.Event, error)) error {
	for {
		records, err := s.load(ctx, id)
		if err != nil {
			return err
		}
		r := &records[0]
		if r.rev == 0 {
			return fmt.Errorf("machine %s: %w", id, ErrNotFound)
		}
		gone := s.aliases(r)
		events, err := last(&r.Record)
		if err != nil {
			return err
		}
		entries, err := s.past.LastWords(id, r.Spec.Name, &r.events, events)
		if err != nil {
			return err
		}
		resp, err := s.Txn(ctx, s.same(id, r), append(s.deleteOps(id, gone), entries...)...)
		if keys.Unsure(err) {
			if records, again := s.load(ctx, id); again == nil && records[0].rev == 0 {
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("deleting machine %s: %w", id, err)
		}
		if resp.Succeeded {
			return nil
		}
	}
}

func (s *Store) deleteOps(id string, aliases []string) []clientv3.Op {
	return slices.Concat(s.aliasOps(id, aliases, nil),
		[]clientv3.Op{clientv3.OpDelete(s.Key("machine", id)), clientv3.OpDelete(s.Key("live", id))},
		s.past.Forget(id))
}
