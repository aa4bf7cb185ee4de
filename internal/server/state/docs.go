package state

import (
	"context"
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// PutDoc stores a document, which may be there already. One document is at
// most about 1 MiB of JSON.
func (s *Store) PutDoc(ctx context.Context, kind, name string, v any) error {
	_, err := s.putDoc(ctx, kind, name, v)
	return err
}

// CreateDoc stores a document unless there is one; created tells.
func (s *Store) CreateDoc(ctx context.Context, kind, name string, v any) (created bool, err error) {
	return s.putDoc(ctx, kind, name, v, unchanged(s.key("doc", kind, name), 0))
}

func (s *Store) putDoc(ctx context.Context, kind, name string, v any, conditions ...clientv3.Cmp) (bool, error) {
	p, err := encode(v)
	if err != nil {
		return false, fmt.Errorf("storing %s %s: %w", kind, name, err)
	}
	key := s.key("doc", kind, name)
	resp, err := s.txn(ctx, conditions, clientv3.OpPut(key, p))
	if unknown(err) && s.holds(ctx, key, p) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("storing %s %s: %w", kind, name, err)
	}
	return resp.Succeeded, nil
}

// GetDoc reads a document into v, which stays as it is when there is none.
func (s *Store) GetDoc(ctx context.Context, kind, name string, v any) (found bool, err error) {
	rev, err := s.getDoc(ctx, kind, name, v)
	return rev != 0, err
}

func (s *Store) getDoc(ctx context.Context, kind, name string, v any) (rev int64, err error) {
	resp, err := s.get(ctx, s.key("doc", kind, name))
	if err != nil {
		return 0, fmt.Errorf("reading %s %s: %w", kind, name, err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	return resp.Kvs[0].ModRevision, decodeKey(resp.Kvs[0].Key, resp.Kvs[0].Value, v)
}

// UpdateDoc changes a document as [Store.Update] does a machine: change gets
// the zero value when there is none, and may be called again.
func UpdateDoc[T any](ctx context.Context, s *Store, kind, name string, change func(v *T) error) (T, error) {
	for {
		var v, none T
		rev, err := s.getDoc(ctx, kind, name, &v)
		if err != nil {
			return none, err
		}
		if err := change(&v); err != nil {
			return none, err
		}
		done, err := s.putDoc(ctx, kind, name, v, unchanged(s.key("doc", kind, name), rev))
		if err != nil {
			return none, err
		}
		if done {
			return v, nil
		}
	}
}

// DeleteDoc removes a document; that there is none is no error.
func (s *Store) DeleteDoc(ctx context.Context, kind, name string) error {
	key := s.key("doc", kind, name)
	_, err := s.txn(ctx, nil, clientv3.OpDelete(key))
	if unknown(err) && s.holds(ctx, key, "") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s %s: %w", kind, name, err)
	}
	return nil
}

// ListDocs reads all documents of one kind, by name.
func ListDocs[T any](ctx context.Context, s *Store, kind string) (map[string]T, error) {
	resp, err := s.get(ctx, s.under("doc", kind), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("listing every %s: %w", kind, err)
	}
	docs := make(map[string]T, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var v T
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return nil, fmt.Errorf("reading %s: %w", kv.Key, err)
		}
		docs[lastPart(kv.Key)] = v
	}
	return docs, nil
}
