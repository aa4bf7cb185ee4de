// Package docs keeps documents by their kind, each of at most about 1 MiB of
// JSON: groups, identities, secrets.
package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/server/state/keys"
)

// Put stores a document, which may be there already. One document is at
// most about 1 MiB of JSON.
func Put(ctx context.Context, s keys.Space, kind, name string, v any) error {
	_, err := put(ctx, s, kind, name, v)
	return err
}

// PutAll stores documents by their names, in the order of these.
func PutAll[T any](ctx context.Context, s keys.Space, kind string, named map[string]T) error {
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if err := Put(ctx, s, kind, name, named[name]); err != nil {
			return err
		}
	}
	return nil
}

// Create stores a document unless there is one; created tells.
func Create(ctx context.Context, s keys.Space, kind, name string, v any) (created bool, err error) {
	return put(ctx, s, kind, name, v, keys.Unchanged(s.Key("doc", kind, name), 0))
}

func put(ctx context.Context, s keys.Space, kind, name string, v any, conditions ...clientv3.Cmp) (bool, error) {
	p, err := keys.Encode(v)
	if err != nil {
		return false, fmt.Errorf("storing %s %s: %w", kind, name, err)
	}
	key := s.Key("doc", kind, name)
	resp, err := s.Txn(ctx, conditions, clientv3.OpPut(key, p))
	if keys.Unsure(err) && s.Holds(ctx, key, p) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("storing %s %s: %w", kind, name, err)
	}
	return resp.Succeeded, nil
}

// Get reads a document into v, which stays as it is when there is none.
func Get(ctx context.Context, s keys.Space, kind, name string, v any) (found bool, err error) {
	rev, err := get(ctx, s, kind, name, v)
	return rev != 0, err
}

func get(ctx context.Context, s keys.Space, kind, name string, v any) (rev int64, err error) {
	resp, err := s.Read(ctx, s.Key("doc", kind, name))
	if err != nil {
		return 0, fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	return resp.Kvs[0].ModRevision, keys.DecodeKey(resp.Kvs[0].Key, resp.Kvs[0].Value, v)
}

// Update changes a document as state.Store.Update does a machine: change gets
// the zero value when there is none, and may be called again.
func Update[T any](ctx context.Context, s keys.Space, kind, name string, change func(v *T) error) (T, error) {
	for {
		var v, none T
		rev, err := get(ctx, s, kind, name, &v)
		if err != nil {
			return none, err
		}
		if err := change(&v); err != nil {
			return none, err
		}
		done, err := put(ctx, s, kind, name, v, keys.Unchanged(s.Key("doc", kind, name), rev))
		if err != nil {
			return none, err
		}
		if done {
			return v, nil
		}
	}
}

// Delete removes a document; that there is none is no error.
func Delete(ctx context.Context, s keys.Space, kind, name string) error {
	key := s.Key("doc", kind, name)
	_, err := s.Txn(ctx, nil, clientv3.OpDelete(key))
	if keys.Unsure(err) && s.Holds(ctx, key, "") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s %s: %w", kind, name, err)
	}
	return nil
}

// List reads all documents of one kind, by name.
func List[T any](ctx context.Context, s keys.Space, kind string) (map[string]T, error) {
	resp, err := s.Read(ctx, s.Under("doc", kind), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("listing every %s: %w", kind, err)
	}
	docs := make(map[string]T, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var v T
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return nil, fmt.Errorf("reading %s: %w", kv.Key, err)
		}
		docs[keys.LastPart(kv.Key)] = v
	}
	return docs, nil
}
