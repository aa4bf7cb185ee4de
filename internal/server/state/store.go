// Package state keeps what the server knows of machines in etcd: one record
// and a bounded past for each.
//
// The store works on any etcd client, of the etcd that [Start] runs inside
// this process or of the operator's cluster. A change that was acknowledged
// is on the disk. Losing everything is safe: a machine without a record boots
// its local disk.
//
// Keys below the prefix, values are JSON:
//
//	machine/MAC             the record
//	event/MAC/NUMBER        events that came together; NUMBER of the last, 16 hex digits
//	alias/NIC-MAC/MAC       the machine MAC has this NIC too; empty
package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
)

// KeptEvents is how many events are kept of each machine.
const KeptEvents = 1000

// MaxAliases is how many MACs one machine may be found by: all of them are
// written in one transaction, which takes 128 operations on a cluster that is
// configured by default.
const MaxAliases = 60

// callTimeout bounds one request to etcd, so that a lost cluster is an error
// and not a hang.
const callTimeout = 10 * time.Second

// ErrNotFound means that there is no record of the machine.
var ErrNotFound = errors.New("unknown machine")

// Store reads and changes machines. It is safe for concurrent use.
type Store struct {
	Client *clientv3.Client
	Prefix string // ends with a slash; "/gild/" by custom
	// Aliases returns every MAC by which a machine is to be found, with its
	// own, at most MaxAliases; nil: only its own.
	Aliases func(*api.Machine) []string
}

// record is a machine as it is stored.
type record struct {
	api.Machine
	NextEvent uint64 `json:"nextEvent,omitempty"`
}

func (s *Store) machineKey(mac string) string { return s.Prefix + "machine/" + mac }

func (s *Store) eventKey(mac string, n uint64) string {
	return fmt.Sprintf("%sevent/%s/%016x", s.Prefix, mac, n)
}

// Get returns the record of a machine, or ErrNotFound.
func (s *Store) Get(ctx context.Context, mac string) (api.Machine, error) {
	r, rev, err := s.load(ctx, mac)
	if err == nil && rev == 0 {
		err = fmt.Errorf("machine %s: %w", mac, ErrNotFound)
	}
	return r.Machine, err
}

// load returns the record and its revision, 0 for a machine that has none.
func (s *Store) load(ctx context.Context, mac string) (record, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.Client.Get(ctx, s.machineKey(mac))
	if err != nil {
		return record{}, 0, fmt.Errorf("reading machine %s: %w", mac, err)
	}
	if len(resp.Kvs) == 0 {
		return record{Machine: api.Machine{ID: mac, MAC: mac}}, 0, nil
	}
	var r record
	if err := json.Unmarshal(resp.Kvs[0].Value, &r); err != nil {
		return record{}, 0, fmt.Errorf("reading machine %s: %w", mac, err)
	}
	return r, resp.Kvs[0].ModRevision, nil
}

// List returns all machines, sorted by MAC, and the revision at which they
// were so, from which [Store.Watch] goes on.
func (s *Store) List(ctx context.Context) ([]api.Machine, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.Client.Get(ctx, s.Prefix+"machine/", clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("listing machines: %w", err)
	}
	machines := make([]api.Machine, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var r record
		if err := json.Unmarshal(kv.Value, &r); err != nil {
			return nil, 0, fmt.Errorf("reading %s: %w", kv.Key, err)
		}
		machines = append(machines, r.Machine)
	}
	return machines, resp.Header.Revision, nil
}

// Count returns how many machines there are.
func (s *Store) Count(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.Client.Get(ctx, s.Prefix+"machine/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("counting machines: %w", err)
	}
	return resp.Count, nil
}

// Find returns the records that any of the MACs belongs to.
func (s *Store) Find(ctx context.Context, macs []string) ([]api.Machine, error) {
	owners := slices.Clone(macs)
	for _, mac := range macs {
		found, err := s.owners(ctx, mac)
		if err != nil {
			return nil, err
		}
		owners = append(owners, found...)
	}
	slices.Sort(owners)
	var machines []api.Machine
	for _, mac := range slices.Compact(owners) {
		switch m, err := s.Get(ctx, mac); {
		case err == nil:
			machines = append(machines, m)
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return machines, nil
}

func (s *Store) owners(ctx context.Context, mac string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := s.Prefix + "alias/" + mac + "/"
	resp, err := s.Client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", mac, err)
	}
	var owners []string
	for _, kv := range resp.Kvs {
		owners = append(owners, strings.TrimPrefix(string(kv.Key), prefix))
	}
	return owners, nil
}

// Update changes one machine. change gets the record (only its MAC is set
// when there is none yet) and returns the events to append to its past; an
// error from it changes nothing and is returned as it is. When somebody else
// changed the record meanwhile, change is called again with what it became,
// so it must have no effects of its own. The record as stored is returned.
func (s *Store) Update(ctx context.Context, mac string, change func(*api.Machine) ([]api.Event, error)) (api.Machine, error) {
	for {
		r, rev, err := s.load(ctx, mac)
		if err != nil {
			return api.Machine{}, err
		}
		before := s.aliases(&r.Machine, rev)
		events, err := change(&r.Machine)
		if err != nil {
			return api.Machine{}, err
		}
		done, err := s.commit(ctx, mac, &r, rev, before, events)
		if err != nil {
			return api.Machine{}, fmt.Errorf("changing machine %s: %w", mac, err)
		}
		if done {
			return r.Machine, nil
		}
	}
}

// commit writes the record, its aliases and its events in one transaction,
// unless the record is no longer the one of revision rev.
func (s *Store) commit(ctx context.Context, mac string, r *record, rev int64, before []string, events []api.Event) (bool, error) {
	ops := s.aliasOps(mac, before, s.aliases(&r.Machine, 1))
	if len(events) > 0 {
		p, err := encode(events)
		if err != nil {
			return false, err
		}
		// Named by the last of them, so that none is dropped before its time.
		r.NextEvent += uint64(len(events))
		ops = append(ops, clientv3.OpPut(s.eventKey(mac, r.NextEvent), p))
		if r.NextEvent > KeptEvents {
			ops = append(ops, clientv3.OpDelete(s.eventKey(mac, 0), clientv3.WithRange(s.eventKey(mac, r.NextEvent-KeptEvents))))
		}
	}
	p, err := encode(r)
	if err != nil {
		return false, err
	}
	return s.txn(ctx, mac, rev, append(ops, clientv3.OpPut(s.machineKey(mac), p)))
}

// encode is json.Marshal without the escapes for HTML, which would make text
// full of "<" outgrow what etcd takes in one request.
func encode(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.String(), err
}

// txn applies ops if the machine's record still has revision rev.
func (s *Store) txn(ctx context.Context, mac string, rev int64, ops []clientv3.Op) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.Client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(s.machineKey(mac)), "=", rev)).
		Then(ops...).
		Commit()
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

func (s *Store) aliases(m *api.Machine, rev int64) []string {
	if s.Aliases == nil || rev == 0 {
		return nil
	}
	all := s.Aliases(m)
	return all[:min(len(all), MaxAliases)]
}

func (s *Store) aliasOps(mac string, before, after []string) []clientv3.Op {
	var ops []clientv3.Op
	for _, a := range before {
		if a != mac && !slices.Contains(after, a) {
			ops = append(ops, clientv3.OpDelete(s.Prefix+"alias/"+a+"/"+mac))
		}
	}
	for _, a := range after {
		if a != mac && !slices.Contains(before, a) {
			ops = append(ops, clientv3.OpPut(s.Prefix+"alias/"+a+"/"+mac, ""))
		}
	}
	return ops
}

// Delete forgets a machine and its past, or returns ErrNotFound. allowed may
// refuse, with the record as it is at that moment.
func (s *Store) Delete(ctx context.Context, mac string, allowed func(*api.Machine) error) error {
	for {
		r, rev, err := s.load(ctx, mac)
		if err != nil {
			return err
		}
		if rev == 0 {
			return fmt.Errorf("machine %s: %w", mac, ErrNotFound)
		}
		if err := allowed(&r.Machine); err != nil {
			return err
		}
		ops := s.aliasOps(mac, s.aliases(&r.Machine, rev), nil)
		ops = append(ops,
			clientv3.OpDelete(s.machineKey(mac)),
			clientv3.OpDelete(s.eventKey(mac, 0), clientv3.WithRange(s.eventKey(mac, math.MaxUint64))))
		done, err := s.txn(ctx, mac, rev, ops)
		if err != nil {
			return fmt.Errorf("deleting machine %s: %w", mac, err)
		}
		if done {
			return nil
		}
	}
}

// Events returns what is kept of a machine's past, oldest first.
func (s *Store) Events(ctx context.Context, mac string) ([]api.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.Client.Get(ctx, s.Prefix+"event/"+mac+"/", clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading the events of %s: %w", mac, err)
	}
	events := make([]api.Event, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var group []api.Event
		if err := json.Unmarshal(kv.Value, &group); err != nil {
			return nil, fmt.Errorf("reading %s: %w", kv.Key, err)
		}
		events = append(events, group...)
	}
	return events[max(0, len(events)-KeptEvents):], nil
}
