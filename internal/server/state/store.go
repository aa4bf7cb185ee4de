// Package state keeps in etcd what the server knows: machines with a bounded
// past, documents of the operator.
//
// The store works on any etcd client, of the etcd that [Start] runs inside
// this process or of the operator's cluster, and so do several servers on one
// cluster. A change that was acknowledged is on the disk. Losing everything is
// safe: a machine without a record boots its local disk.
//
// Keys below the prefix, values are JSON; names are escaped as in a URL's path:
//
//	machine/ID              the record, without what changes every second
//	live/ID                 what changes every second: progress, when last seen
//	event/ID/NUMBER         events that came together; NUMBER of the last, 16 hex digits
//	past/ID                 events of records that were joined into this one
//	alias/LABEL/ID          the machine is known by this label too; empty
//	log/TIME-ID             {machine, number} of an event key; TIME in ns, 16 hex digits
//	doc/KIND/NAME           a document
//	lease/ADDRESS           who has leased an address by DHCP, and until when
//	server/URL              a gild serve that is alive, on a lease
//	guard/NAME              changed by each change that rests on a look at many records; empty
package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/turns"
)

// MaxAliases is how many labels one machine may be found by beside its ID.
// The largest transaction, a join, takes three times as many operations and a
// few more; a cluster that is configured by default takes 128.
const MaxAliases = 34

// Bounds of one request to etcd, so that a lost cluster is an error and not a
// hang. A write may wait for a disk; a read does not.
const (
	callTimeout = 10 * time.Second
	readTimeout = 5 * time.Second
)

// ErrNotFound means that there is no record of the machine.
var ErrNotFound = errors.New("unknown machine")

// Store reads and changes machines and documents. It is safe for concurrent
// use, and so are several stores on one cluster.
type Store struct {
	Client *clientv3.Client
	Prefix string // ends with a slash; "/gild/" by custom
	// Aliases returns every label by which a machine is to be found: MACs as
	// they are, others with their kind before them ("uuid/...", "name/...").
	// What counts most goes first: only MaxAliases are kept. nil: only the ID.
	Aliases func(*fleet.Record) []string
	// Kept is how many events are kept of a machine, at most KeptEvents; nil:
	// as many of each.
	Kept func(*fleet.Record) int
	Now  func() time.Time // nil: time.Now

	kept  logTrim
	turns turns.Turns // of those who change a record
}

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// key makes a key below the prefix. Parts are data: they are escaped, so that
// none can name another's key.
func (s *Store) key(kind string, parts ...string) string {
	k := s.Prefix + kind
	for _, p := range parts {
		k += "/" + url.PathEscape(p)
	}
	return k
}

// under is the prefix of all keys that key makes with further parts.
func (s *Store) under(kind string, parts ...string) string { return s.key(kind, parts...) + "/" }

// lastPart is the unescaped last part of a key.
func lastPart(key []byte) string {
	k := string(key)
	part, err := url.PathUnescape(k[strings.LastIndexByte(k, '/')+1:])
	if err != nil {
		return "" // not one of ours
	}
	return part
}

// leaderWithin is how long a request waits for a cluster to elect a leader,
// which takes a second or two when one is lost; leaderAgain is how often it
// looks. A cluster without a majority elects none.
const (
	leaderWithin = 3 * time.Second
	leaderAgain  = 200 * time.Millisecond
)

// call makes one request within a time. A member that has no leader refuses
// it before it does anything, so that it can be made again.
func (s *Store) call(ctx context.Context, within time.Duration, request func(context.Context) error) error {
	call, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), within)
	defer cancel()
	patience := time.Now().Add(leaderWithin)
	for {
		err := request(call)
		if err != nil && call.Err() != nil && ctx.Err() == nil {
			// The deadline here, which gRPC words in several ways.
			return &UnavailableError{err}
		}
		if !errors.Is(err, rpctypes.ErrNoLeader) || time.Now().After(patience) {
			return classify(ctx, err)
		}
		select {
		case <-call.Done():
		case <-time.After(leaderAgain):
		}
	}
}

// get makes one request, bounded in time.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = s.call(ctx, readTimeout, func(ctx context.Context) error {
		resp, err = s.Client.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}

// txn makes one transaction, bounded in time.
func (s *Store) txn(ctx context.Context, conditions []clientv3.Cmp, ops ...clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	within := callTimeout
	if !slices.ContainsFunc(ops, func(op clientv3.Op) bool { return !op.IsGet() }) {
		within = readTimeout
	}
	err = s.call(ctx, within, func(ctx context.Context) error {
		resp, err = s.Client.Txn(ctx).If(conditions...).Then(ops...).Commit()
		return err
	})
	return resp, err
}

// unchanged holds while key has revision rev; 0: while there is none.
func unchanged(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
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

// decodeKey reads the value of a key.
func decodeKey(key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return nil
}
