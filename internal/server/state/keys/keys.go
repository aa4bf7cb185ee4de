// Package keys reads or writes what lies below one prefix in etcd, each request
// within a time.
package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bounds of one request to etcd, so that a lost cluster is an error and not a
// hang. A write may wait for a disk; a read does not.
const (
	CallTimeout = 10 * time.Second
	ReadTimeout = 5 * time.Second
)

// Space is what lies below one prefix in etcd. It is safe for concurrent use.
type Space struct {
	Client *clientv3.Client
	Prefix string // ends with a slash; "/gild/" by custom
}

// Key makes a key below the prefix. Parts are data: they are escaped, so that
// none can name another's key.
func (s Space) Key(kind string, parts ...string) string {
	k := s.Prefix + kind
	for _, p := range parts {
		k += "/" + url.PathEscape(p)
	}
	return k
}

// Under is the prefix of all keys that Key makes with further parts.
func (s Space) Under(kind string, parts ...string) string { return s.Key(kind, parts...) + "/" }

// LastPart is the unescaped last part of a key.
func LastPart(key []byte) string {
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
func (s Space) call(ctx context.Context, within time.Duration, request func(context.Context) error) error {
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
			return Classify(ctx, err)
		}
		select {
		case <-call.Done():
		case <-time.After(leaderAgain):
		}
	}
}

// Read makes one request, bounded in time.
func (s Space) Read(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = s.call(ctx, ReadTimeout, func(ctx context.Context) error {
		resp, err = s.Client.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}

// Txn makes one transaction, bounded in time.
func (s Space) Txn(ctx context.Context, conditions []clientv3.Cmp, ops ...clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	within := CallTimeout
	if !slices.ContainsFunc(ops, func(op clientv3.Op) bool { return !op.IsGet() }) {
		within = ReadTimeout
	}
	err = s.call(ctx, within, func(ctx context.Context) error {
		resp, err = s.Client.Txn(ctx).If(conditions...).Then(ops...).Commit()
		return err
	})
	return resp, err
}

// Unchanged holds while key has revision rev; 0: while there is none.
func Unchanged(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

// Encode is json.Marshal without the escapes for HTML, which would make text
// full of "<" outgrow what etcd takes in one request.
func Encode(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.String(), err
}

// DecodeKey reads the value of a key.
func DecodeKey(key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return nil
}

// Unsure reports whether a write may have been made all the same: etcd did not
// answer in time.
func Unsure(err error) bool {
	_, ok := errors.AsType[*UnavailableError](err)
	return ok
}

// Holds looks whether a key has the value that it was to have; empty: that it
// is not there.
func (s Space) Holds(ctx context.Context, key, value string) bool {
	resp, err := s.Read(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return err == nil && value == ""
	}
	return string(resp.Kvs[0].Value) == value
}

// Ranged is the answer to the i-th operation of a transaction, a get.
func Ranged(resp *clientv3.TxnResponse, i int) []*mvccpb.KeyValue {
	if r, ok := resp.Responses[i].Response.(*etcdserverpb.ResponseOp_ResponseRange); ok {
		return r.ResponseRange.Kvs
	}
	return nil
}

// OpsAtOnce bounds how much is asked for in one transaction.
const OpsAtOnce = 100
