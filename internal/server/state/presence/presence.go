// Package presence tells the servers of one cluster of each other.
package presence

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

const (
	// announceFor is how long a server that has died is still named.
	announceFor = 15 * time.Second
	// announceAgain is the wait after an announcement that failed.
	announceAgain = 2 * time.Second
)

// Announce makes a server known to the others until ctx ends, through losses
// of the cluster and of its lease, and then takes it back. self says what it is
// like, and closes a channel when that has changed. Announce returns ctx's
// error.
func Announce(ctx context.Context, s keys.Space, self func() (api.Server, <-chan struct{})) error {
	for ctx.Err() == nil {
		lease := announce(ctx, s, self)
		if ctx.Err() != nil && lease != clientv3.NoLease {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_, _ = s.Client.Revoke(stop, lease)
			cancel()
		}
		select {
		case <-ctx.Done():
		case <-time.After(announceAgain):
		}
	}
	return ctx.Err()
}

// announce holds the announcement for as long as its lease lives.
func announce(ctx context.Context, s keys.Space, self func() (api.Server, <-chan struct{})) clientv3.LeaseID {
	call, cancel := context.WithTimeout(ctx, keys.CallTimeout)
	defer cancel()
	grant, err := s.Client.Grant(call, int64(announceFor/time.Second))
	if err != nil {
		return clientv3.NoLease
	}
	changed, err := announceOnce(ctx, s, self, grant.ID)
	if err != nil {
		return grant.ID
	}
	alive, err := s.Client.KeepAlive(ctx, grant.ID)
	if err != nil {
		return grant.ID
	}
	for {
		select {
		case _, lives := <-alive: // ends with the lease or the context
			if !lives {
				return grant.ID
			}
		case <-changed:
			if changed, err = announceOnce(ctx, s, self, grant.ID); err != nil {
				return grant.ID
			}
		}
	}
}

func announceOnce(ctx context.Context, s keys.Space, self func() (api.Server, <-chan struct{}), lease clientv3.LeaseID) (<-chan struct{},
	error,
) {
	ctx, cancel := context.WithTimeout(ctx, keys.CallTimeout)
	defer cancel()
	server, changed := self()
	p, err := keys.Encode(server)
	if err != nil {
		return nil, err
	}
	_, err = s.Client.Put(ctx, s.Key("server", server.BaseURL), p, clientv3.WithLease(lease))
	return changed, err
}

// Servers returns every server that is announced, sorted by base URL.
func Servers(ctx context.Context, s keys.Space) ([]api.Server, error) {
	resp, err := s.Read(ctx, s.Under("server"), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("listing servers: %w", err)
	}
	servers := make([]api.Server, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		if err := keys.DecodeKey(kv.Key, kv.Value, &servers[i]); err != nil {
			return nil, err
		}
	}
	return servers, nil
}
