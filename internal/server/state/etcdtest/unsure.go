package etcdtest

import (
	"context"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Outcome is what becomes of a write.
type Outcome int

// The outcomes. All but the first are answered with a time-out, from which
// nobody can tell them apart.
const (
	Sure       Outcome = iota
	Lost               // it is not made
	Made               // it is made
	MadeUnseen         // it is made, and the next request is not answered either
)

// Unsure is a KV whose writes can end in a time-out, made or not. It takes the
// place of the KV in a client.
type Unsure struct {
	clientv3.KV
	// Fault says what becomes of the n-th write, from 1; nil: all are sure.
	Fault func(n int) Outcome

	mu     sync.Mutex
	writes int
	deaf   bool // the next request is not answered
}

// Writes returns how many writes there were.
func (u *Unsure) Writes() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.writes
}

// next decides about one request.
func (u *Unsure) next(write bool) Outcome {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.deaf {
		u.deaf = false
		return Lost
	}
	if !write {
		return Sure
	}
	u.writes++
	if u.Fault == nil {
		return Sure
	}
	o := u.Fault(u.writes)
	u.deaf = o == MadeUnseen
	return o
}

// Get implements clientv3.KV.
func (u *Unsure) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if u.next(false) == Lost {
		return nil, context.DeadlineExceeded
	}
	return u.KV.Get(ctx, key, opts...)
}

// Txn implements clientv3.KV.
func (u *Unsure) Txn(ctx context.Context) clientv3.Txn { return &unsureTxn{Txn: u.KV.Txn(ctx), kv: u} }

type unsureTxn struct {
	clientv3.Txn
	kv    *Unsure
	write bool
}

// If implements clientv3.Txn.
func (t *unsureTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(cs...)
	return t
}

// Then implements clientv3.Txn.
func (t *unsureTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.write = slices.ContainsFunc(ops, func(op clientv3.Op) bool { return !op.IsGet() })
	t.Txn = t.Txn.Then(ops...)
	return t
}

// Commit implements clientv3.Txn.
func (t *unsureTxn) Commit() (*clientv3.TxnResponse, error) {
	o := t.kv.next(t.write)
	if o == Lost {
		return nil, context.DeadlineExceeded
	}
	resp, err := t.Txn.Commit()
	if err == nil && o != Sure {
		return nil, context.DeadlineExceeded
	}
	return resp, err
}
