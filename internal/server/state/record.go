package state

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
)

// record is a machine in two parts: its whole, with an inventory of many
// kilobytes, and the little of it that a flash changes every second. Each is
// written only when it has changed.
type record struct {
	fleet.Record
	events past.Counts // on each shelf, so far

	// damage is why it cannot be read; the machine is then only what stands for
	// it, and is not changed.
	damage error

	stored    string // how the whole is stored; empty: it is not
	storedNow string // how the little part is stored
	rev       int64  // of the whole, 0: there is none
	revNow    int64  // of the little part
}

// Live is the little part.
type Live struct {
	Seq          uint64        `json:"seq,omitempty"`
	NextEvent    uint64        `json:"nextEvent,omitempty"` // events so far on the first shelf
	Shelves      []uint64      `json:"shelves,omitempty"`   // on the others
	LastSeen     time.Time     `json:"lastSeen,omitzero"`
	AgentSeen    time.Time     `json:"agentSeen,omitzero"`
	FirmwareSeen time.Time     `json:"firmwareSeen,omitzero"`
	Address      string        `json:"address,omitempty"`
	Message      string        `json:"message,omitempty"`
	Progress     *api.Progress `json:"progress,omitempty"`
	Rationed     fleet.Bucket  `json:"ration,omitzero"`
}

// split gives both parts of a record as they are stored.
func (r *record) split() (whole, little string, err error) {
	if little, err = keys.Encode(r.little()); err != nil {
		return "", "", err
	}
	rest := record{Record: r.Record}
	rest.lay(Live{})
	whole, err = keys.Encode(rest.Record)
	return whole, little, err
}

// little is the little part.
func (r *record) little() Live {
	l := Live{
		Seq: r.Seq, NextEvent: r.events[past.Told], LastSeen: r.LastSeen, AgentSeen: r.AgentSeen,
		FirmwareSeen: r.FirmwareSeen, Address: r.Address, Message: r.Message, Progress: r.Progress, Rationed: r.Rationed,
	}
	if others := r.events[past.Told+1:]; slices.Max(others) > 0 {
		l.Shelves = slices.Clone(others)
	}
	return l
}

// lay lays the little part over the whole.
func (r *record) lay(l Live) {
	r.Seq, r.LastSeen, r.AgentSeen, r.FirmwareSeen = l.Seq, l.LastSeen, l.AgentSeen, l.FirmwareSeen
	r.Address, r.Message, r.Progress, r.Rationed = l.Address, l.Message, l.Progress, l.Rationed
	r.events = past.Counts{past.Told: l.NextEvent}
	copy(r.events[past.Told+1:], l.Shelves)
}

// readWhole takes the whole part from its key.
func (r *record) readWhole(kv *mvccpb.KeyValue) {
	r.stored, r.rev = string(kv.Value), kv.ModRevision
	// The number of events was part of it once.
	old := struct {
		*fleet.Record
		NextEvent *uint64 `json:"nextEvent"`
	}{&r.Record, &r.events[past.Told]}
	if err := keys.DecodeKey(kv.Key, kv.Value, &old); err != nil {
		r.broken(keys.LastPart(kv.Key), err)
	}
	r.Upgrade()
}

// readLittle takes the little part from its key.
func (r *record) readLittle(kv *mvccpb.KeyValue) {
	r.storedNow, r.revNow = string(kv.Value), kv.ModRevision
	var l Live
	if err := keys.DecodeKey(kv.Key, kv.Value, &l); err != nil {
		r.broken(keys.LastPart(kv.Key), err)
	} else if r.damage == nil {
		r.lay(l)
	}
}

// broken lets a failed machine stand for a record that cannot be read, so that
// it is seen, and all others are as they were.
func (r *record) broken(id string, err error) {
	r.damage = err
	r.Record = fresh(id).Record
	r.State, r.Trouble = api.MachineFailed, &fleet.Trouble{Cause: api.CauseRecord}
	r.Message = "its record cannot be read: " + err.Error()
}

// fresh is the record of a machine that has none.
func fresh(id string) record {
	r := record{Record: fleet.Record{ID: id}}
	if _, err := net.ParseMAC(id); err == nil {
		r.MAC = id
	}
	return r
}

// Get returns the record of a machine, or ErrNotFound. For one that cannot be
// read a failed machine stands, of cause api.CauseRecord, here and in all that
// lists machines; it cannot be changed, only deleted.
func (s *Store) Get(ctx context.Context, id string) (fleet.Record, error) {
	r, err := s.load(ctx, id)
	if err == nil && r[0].rev == 0 {
		err = fmt.Errorf("machine %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return fleet.Record{}, err
	}
	return r[0].Record, nil
}

// load returns records as they were at one moment, of at most opsAtOnce/2
// machines.
func (s *Store) load(ctx context.Context, ids ...string) ([]record, error) {
	return loadAt(ctx, s, 0, ids...)
}

// loadAt is load as of a revision; 0: now.
func loadAt(ctx context.Context, s *Store, revision int64, ids ...string) ([]record, error) {
	var ops []clientv3.Op
	at := clientv3.WithRev(revision)
	for _, id := range ids {
		ops = append(ops, clientv3.OpGet(s.Key("machine", id), at), clientv3.OpGet(s.Key("live", id), at))
	}
	resp, err := s.Txn(ctx, nil, ops...)
	if err != nil {
		return nil, fmt.Errorf("reading machine %s: %w", ids[0], err)
	}
	records := make([]record, len(ids))
	for i, id := range ids {
		r := fresh(id)
		if kvs := keys.Ranged(resp, 2*i); len(kvs) > 0 {
			r.readWhole(kvs[0])
		}
		if kvs := keys.Ranged(resp, 2*i+1); len(kvs) > 0 {
			r.readLittle(kvs[0])
		}
		records[i] = r
	}
	return records, nil
}

// List returns all machines, sorted by ID, and the revision at which they
// were so, from which [Store.Watch] continues.
func (s *Store) List(ctx context.Context) ([]fleet.Record, int64, error) {
	resp, err := s.Txn(ctx, nil,
		clientv3.OpGet(s.Under("machine"), clientv3.WithPrefix()),
		clientv3.OpGet(s.Under("live"), clientv3.WithPrefix()))
	if err != nil {
		return nil, 0, fmt.Errorf("listing machines: %w", err)
	}
	little := map[string]*mvccpb.KeyValue{}
	for _, kv := range keys.Ranged(resp, 1) {
		little[keys.LastPart(kv.Key)] = kv
	}
	machines := make([]fleet.Record, 0, len(keys.Ranged(resp, 0)))
	for _, kv := range keys.Ranged(resp, 0) {
		var r record
		r.readWhole(kv)
		if kv := little[keys.LastPart(kv.Key)]; kv != nil {
			r.readLittle(kv)
		}
		machines = append(machines, r.Record)
	}
	return machines, resp.Header.Revision, nil
}

// Count returns how many machines there are.
func (s *Store) Count(ctx context.Context) (int64, error) {
	resp, err := s.Read(ctx, s.Under("machine"), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("counting machines: %w", err)
	}
	return resp.Count, nil
}

// Find returns the records that any of the labels belongs to, by their ID or
// as an alias, sorted by ID.
func (s *Store) Find(ctx context.Context, labels []string) ([]fleet.Record, error) {
	ids := slices.Clone(labels)
	for some := range slices.Chunk(labels, keys.OpsAtOnce) {
		var ops []clientv3.Op
		for _, label := range some {
			ops = append(ops, clientv3.OpGet(s.Under("alias", label), clientv3.WithPrefix(), clientv3.WithKeysOnly()))
		}
		resp, err := s.Txn(ctx, nil, ops...)
		if err != nil {
			return nil, fmt.Errorf("looking up %s: %w", labels[0], err)
		}
		for i := range some {
			for _, kv := range keys.Ranged(resp, i) {
				ids = append(ids, keys.LastPart(kv.Key))
			}
		}
	}
	slices.Sort(ids)
	var machines []fleet.Record
	for some := range slices.Chunk(slices.Compact(ids), keys.OpsAtOnce/2) {
		records, err := s.load(ctx, some...)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if r.rev != 0 {
				machines = append(machines, r.Record)
			}
		}
	}
	return machines, nil
}
