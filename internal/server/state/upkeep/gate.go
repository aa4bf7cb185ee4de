package upkeep

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// gate keeps changes that store something from an etcd that is closed. etcd
// refuses them too, but writes each into its log before it does.
type gate struct {
	clientv3.KV
	closed func() bool
}

// Put implements clientv3.KV.
func (g *gate) Put(ctx context.Context, key, val string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	if g.closed() {
		return nil, rpctypes.ErrNoSpace
	}
	return g.KV.Put(ctx, key, val, opts...)
}

// Do implements clientv3.KV.
func (g *gate) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	if stores(op) && g.closed() {
		return clientv3.OpResponse{}, rpctypes.ErrNoSpace
	}
	return g.KV.Do(ctx, op)
}

// Txn implements clientv3.KV.
func (g *gate) Txn(ctx context.Context) clientv3.Txn { return &txn{Txn: g.KV.Txn(ctx), gate: g} }

// txn is a transaction that knows whether it may store something.
type txn struct {
	clientv3.Txn
	gate   *gate
	stores bool
}

// If implements clientv3.Txn.
func (t *txn) If(conditions ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(conditions...)
	return t
}

// Then implements clientv3.Txn.
func (t *txn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.stores = t.stores || stores(ops...)
	t.Txn = t.Txn.Then(ops...)
	return t
}

// Else implements clientv3.Txn.
func (t *txn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.stores = t.stores || stores(ops...)
	t.Txn = t.Txn.Else(ops...)
	return t
}

// Commit implements clientv3.Txn.
func (t *txn) Commit() (*clientv3.TxnResponse, error) {
	if t.stores && t.gate.closed() {
		return nil, rpctypes.ErrNoSpace
	}
	return t.Txn.Commit()
}

// stores reports whether one of the operations may.
func stores(ops ...clientv3.Op) bool {
	for _, op := range ops {
		if op.IsPut() {
			return true
		}
		if op.IsTxn() {
			_, then, otherwise := op.Txn()
			if stores(then...) || stores(otherwise...) {
				return true
			}
		}
	}
	return false
}
