package state

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
)

// KeptEvents is how many events are kept of a machine at most.
const KeptEvents = budget.Events

// Bounds of what a join carries over: it goes into one value.
const (
	joinedEvents = 500
	joinedBytes  = 512 << 10
)

// keptLog is how many entries [Store.Recent] can give at least; each is of
// one or more events.
const keptLog = 2000

func (s *Store) eventKey(id string, n uint64) string {
	return fmt.Sprintf("%s%016x", s.under("event", id), n)
}

// eventOps appends events to a machine's past and drops what is too much.
func (s *Store) eventOps(id string, r *record, events []api.Event) ([]clientv3.Op, error) {
	if len(events) == 0 {
		return nil, nil
	}
	p, err := encode(events)
	if err != nil {
		return nil, err
	}
	// Named by the last of them, so that none is dropped before its time.
	r.NextEvent += uint64(len(events))
	at, err := encode(place{Machine: id, Number: r.NextEvent})
	if err != nil {
		return nil, err
	}
	ops := []clientv3.Op{
		clientv3.OpPut(s.eventKey(id, r.NextEvent), p),
		clientv3.OpPut(s.key("log", fmt.Sprintf("%016x-%s", s.now().UnixNano(), id)), at),
	}
	if kept := s.keptOf(&r.Machine); r.NextEvent > kept {
		ops = append(ops, clientv3.OpDelete(s.eventKey(id, 0), clientv3.WithRange(s.eventKey(id, r.NextEvent-kept))))
	}
	return ops, nil
}

func (s *Store) keptOf(m *api.Machine) uint64 {
	if s.Kept == nil {
		return KeptEvents
	}
	return uint64(min(max(s.Kept(m), 1), KeptEvents))
}

// Events returns what is kept of a machine's past, oldest first.
func (s *Store) Events(ctx context.Context, id string) ([]api.Event, error) {
	joined, own, err := s.past(ctx, id)
	return append(joined, own...), err
}

// past returns the events of records that were joined into this one, and its
// own.
func (s *Store) past(ctx context.Context, id string) (joined, own []api.Event, err error) {
	resp, err := s.txn(ctx, nil, clientv3.OpGet(s.key("past", id)), clientv3.OpGet(s.under("event", id), clientv3.WithPrefix()))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the events of %s: %w", id, err)
	}
	if joined, err = groups(ranged(resp, 0)); err != nil {
		return nil, nil, err
	}
	if own, err = groups(ranged(resp, 1)); err != nil {
		return nil, nil, err
	}
	return joined, own[max(0, len(own)-KeptEvents):], nil
}

func groups(kvs []*mvccpb.KeyValue) ([]api.Event, error) {
	events := make([]api.Event, 0, len(kvs))
	for _, kv := range kvs {
		var group []api.Event
		if err := decodeKey(kv.Key, kv.Value, &group); err != nil {
			return nil, err
		}
		events = append(events, group...)
	}
	return events, nil
}

// joinedPast keeps the newest events of from with those that into had from
// earlier joins.
func (s *Store) joinedPast(ctx context.Context, into, from string) ([]clientv3.Op, error) {
	events, _, err := s.past(ctx, into)
	if err != nil {
		return nil, err
	}
	more, err := s.Events(ctx, from)
	if err != nil {
		return nil, err
	}
	events = append(events, more...)
	events = events[max(0, len(events)-joinedEvents):]
	for len(events) > 0 {
		p, err := encode(events)
		if err != nil {
			return nil, err
		}
		if len(p) <= joinedBytes {
			return []clientv3.Op{clientv3.OpPut(s.key("past", into), p)}, nil
		}
		events = events[(len(events)+1)/2:]
	}
	return nil, nil
}

// place is where an entry of the log has its events.
type place struct {
	Machine string `json:"machine"`
	Number  uint64 `json:"number"`
}

// Recent returns the newest events of all machines, newest first, at most
// limit. Those of machines that were deleted or joined since are left out.
func (s *Store) Recent(ctx context.Context, limit int) ([]api.LogEntry, error) {
	limit = min(limit, keptLog)
	if limit <= 0 {
		return nil, nil
	}
	resp, err := s.get(ctx, s.under("log"), clientv3.WithPrefix(), clientv3.WithLimit(int64(limit)),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	var entries []api.LogEntry
	names := map[string]string{}
	for len(resp.Kvs) > 0 && len(entries) < limit {
		n := min(len(resp.Kvs), opsAtOnce/2)
		some, err := s.entries(ctx, resp.Kvs[:n], names)
		if err != nil {
			return nil, err
		}
		entries = append(entries, some...)
		resp.Kvs = resp.Kvs[n:]
	}
	return entries[:min(limit, len(entries))], nil
}

// entries follows places to their events, at most opsAtOnce/2.
func (s *Store) entries(ctx context.Context, places []*mvccpb.KeyValue, names map[string]string) ([]api.LogEntry, error) {
	at := make([]place, len(places))
	var ops []clientv3.Op
	for i, kv := range places {
		if err := decodeKey(kv.Key, kv.Value, &at[i]); err != nil {
			return nil, err
		}
		ops = append(ops, clientv3.OpGet(s.eventKey(at[i].Machine, at[i].Number)))
		if _, known := names[at[i].Machine]; !known {
			names[at[i].Machine] = ""
			ops = append(ops, clientv3.OpGet(s.key("machine", at[i].Machine)))
		}
	}
	resp, err := s.txn(ctx, nil, ops...)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	events := map[string][]api.Event{}
	for i := range ops {
		for _, kv := range ranged(resp, i) {
			if strings.HasPrefix(string(kv.Key), s.under("machine")) {
				var r record
				if err := r.readWhole(kv); err != nil {
					return nil, err
				}
				names[r.ID] = r.Spec.Name
				continue
			}
			if events[string(kv.Key)], err = groups([]*mvccpb.KeyValue{kv}); err != nil {
				return nil, err
			}
		}
	}
	var entries []api.LogEntry
	for _, p := range at {
		group := events[s.eventKey(p.Machine, p.Number)]
		for i := len(group) - 1; i >= 0; i-- {
			entries = append(entries, api.LogEntry{Machine: p.Machine, Name: names[p.Machine], Event: group[i]})
		}
	}
	return entries, nil
}

// logTrim counts entries towards the next time that the log is cut.
type logTrim struct{ entries atomic.Int64 }

// trimLog cuts the log now and then. That it fails, or that two servers do it
// at once, is harmless: the next time is near.
func (s *Store) trimLog(ctx context.Context) {
	if s.kept.entries.Add(1)%(keptLog/4) != 0 {
		return
	}
	resp, err := s.get(ctx, s.under("log"), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(keptLog),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil || len(resp.Kvs) < keptLog {
		return
	}
	last := string(resp.Kvs[len(resp.Kvs)-1].Key)
	_, _ = s.txn(ctx, nil, clientv3.OpDelete(s.under("log"), clientv3.WithRange(last)))
}

// eventMachine is whose past an event key is part of.
func eventMachine(rest string) string {
	id, number, _ := strings.Cut(rest, "/")
	if _, err := strconv.ParseUint(number, 16, 64); err != nil {
		return ""
	}
	return lastPart([]byte(id))
}
