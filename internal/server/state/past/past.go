package past

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// KeptEvents is how many events are kept of what each machine told.
const KeptEvents = budget.Events

// Bounds of what a join carries over: it goes into one value.
const (
	joinedEvents = 500
	joinedBytes  = 512 << 10
)

// Events returns what is kept of a machine's past, oldest first.
func (s *Past) Events(ctx context.Context, id string) ([]api.Event, error) {
	joined, own, err := s.past(ctx, id)
	return append(joined, own...), err
}

// past returns the events of records that were joined into this one, and its
// own.
func (s *Past) past(ctx context.Context, id string) (joined, own []api.Event, err error) {
	ops := []clientv3.Op{clientv3.OpGet(s.Key("past", id))}
	for _, kind := range Kinds {
		ops = append(ops, clientv3.OpGet(s.Under(kind, id), clientv3.WithPrefix()))
	}
	resp, err := s.Txn(ctx, nil, ops...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the events of %s: %w", id, err)
	}
	var all [shelves][]api.Event
	for on := range all {
		all[on] = Groups(keys.Ranged(resp, 1+on))
	}
	return Groups(keys.Ranged(resp, 0)), shelved(all), nil
}

// Groups reads events that were stored together. One that tells of it stands
// for those that cannot be read.
func Groups(kvs []*mvccpb.KeyValue) []api.Event {
	events := make([]api.Event, 0, len(kvs))
	for _, kv := range kvs {
		var group []api.Event
		if err := keys.DecodeKey(kv.Key, kv.Value, &group); err != nil {
			group = unread(err)
		}
		number(kv.Key, group)
		events = append(events, group...)
	}
	return events
}

func unread(err error) []api.Event {
	return []api.Event{{Step: "state", State: api.StateFailed, Cause: api.CauseRecord, Actor: api.ActorServer, Message: err.Error()}}
}

// number gives events their numbers that were stored before they had any: then
// all were on one shelf, and the key has that of the last.
func number(key []byte, group []api.Event) {
	k := string(key)
	last, err := strconv.ParseUint(k[strings.LastIndexByte(k, '/')+1:], 16, 64)
	for i := range group {
		if before := uint64(len(group) - 1 - i); err == nil && group[i].Number == 0 && last > before {
			group[i].Number = last - before
		}
	}
}

// Joined keeps the newest events of from with those that into had from
// earlier joins.
func (s *Past) Joined(ctx context.Context, into, from string) ([]clientv3.Op, error) {
	events, _, err := s.past(ctx, into)
	if err != nil {
		return nil, err
	}
	more, err := s.Events(ctx, from)
	if err != nil {
		return nil, err
	}
	events = newest(append(events, more...), joinedEvents)
	for len(events) > 0 {
		p, err := keys.Encode(events)
		if err != nil {
			return nil, err
		}
		if len(p) <= joinedBytes {
			return []clientv3.Op{clientv3.OpPut(s.Key("past", into), p)}, nil
		}
		events = newest(events, len(events)/2)
	}
	return nil, nil
}

// newest drops the oldest of too many events, first of those that were told.
func newest(events []api.Event, keep int) []api.Event {
	over := len(events) - keep
	events = slices.DeleteFunc(slices.Clone(events), func(e api.Event) bool {
		drop := over > 0 && shelfOf(&e) == Told
		if drop {
			over--
		}
		return drop
	})
	return events[max(0, len(events)-keep):]
}

// EventMachine is whose past an event key is part of.
func EventMachine(rest string) string {
	id, number, _ := strings.Cut(rest, "/")
	if _, err := strconv.ParseUint(number, 16, 64); err != nil {
		return ""
	}
	return keys.LastPart([]byte(id))
}
