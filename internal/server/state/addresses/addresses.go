// Package addresses keeps who has leased which address by DHCP, so that no two
// servers give one to two clients.
package addresses

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/server/state/keys"
)

// claimWithin bounds a claim: a client of DHCP asks again after 4 seconds.
const claimWithin = 2 * time.Second

// clockSlack is how far the clocks of two servers may be apart before one
// takes a lease of the other for over.
const clockSlack = time.Minute

// Lease is who has an address by DHCP.
type Lease struct {
	Client []byte    `json:"client"` // may be any bytes
	Until  time.Time `json:"until"`
	// Trial marks the first lease of a client that nobody has registered.
	Trial bool `json:"trial,omitempty"`
}

// Ends is when another client may have the address, by whichever server's
// clock.
func (l Lease) Ends() time.Time { return l.Until.Add(clockSlack) }

// Claim leases an address to a client of DHCP, or returns the lease by
// which another client has it, from whichever server; held says that.
func Claim(ctx context.Context, s keys.Space, a netip.Addr, l Lease, now time.Time) (holder Lease, held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	key := s.Key("lease", a.String())
	p, err := keys.Encode(l)
	if err != nil {
		return holder, false, err
	}
	for {
		resp, err := s.Read(ctx, key)
		if err != nil {
			return holder, false, fmt.Errorf("leasing %v: %w", a, err)
		}
		rev := int64(0)
		if len(resp.Kvs) > 0 {
			if err := keys.DecodeKey(resp.Kvs[0].Key, resp.Kvs[0].Value, &holder); err != nil {
				return holder, false, err
			}
			if string(holder.Client) != string(l.Client) && holder.Ends().After(now) {
				return holder, true, nil
			}
			rev = resp.Kvs[0].ModRevision
		}
		done, err := s.Txn(ctx, []clientv3.Cmp{keys.Unchanged(key, rev)}, clientv3.OpPut(key, p))
		if err != nil {
			return holder, false, fmt.Errorf("leasing %v: %w", a, err)
		}
		if done.Succeeded {
			return Lease{}, false, nil
		}
	}
}

// Release ends a client's lease of an address; of anything else it is
// ignored.
func Release(ctx context.Context, s keys.Space, a netip.Addr, client []byte) error {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	key := s.Key("lease", a.String())
	resp, err := s.Read(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return err
	}
	var l Lease
	if err := keys.DecodeKey(resp.Kvs[0].Key, resp.Kvs[0].Value, &l); err != nil || string(l.Client) != string(client) {
		return err
	}
	_, err = s.Txn(ctx, []clientv3.Cmp{keys.Unchanged(key, resp.Kvs[0].ModRevision)}, clientv3.OpDelete(key))
	return err
}

// All calls each with every lease there is, whether it still runs or
// not, and returns the revision at which they were so.
func All(ctx context.Context, s keys.Space, each func(netip.Addr, Lease)) (revision int64, err error) {
	resp, err := s.Read(ctx, s.Under("lease"), clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("reading the leases: %w", err)
	}
	for _, kv := range resp.Kvs {
		if err := eachLease(kv, each); err != nil {
			return 0, err
		}
	}
	return resp.Header.Revision, nil
}

// Watch calls each with every lease that is made or renewed after
// a revision, and with an empty one when it has ended before its time, until
// ctx ends. [keys.ErrCompacted] means that they must be read anew.
func Watch(ctx context.Context, s keys.Space, after int64, each func(netip.Addr, Lease)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := s.Client.Watch(ctx, s.Under("lease"), clientv3.WithPrefix(), clientv3.WithRev(after+1))
	return keys.EachChange(ctx, changes, func(events []*clientv3.Event) error {
		for _, e := range events {
			if e.Type != mvccpb.Event_PUT {
				e.Kv.Value = []byte("{}")
			}
			if err := eachLease(e.Kv, each); err != nil {
				return err
			}
		}
		return nil
	})
}

func eachLease(kv *mvccpb.KeyValue, each func(netip.Addr, Lease)) error {
	a, err := netip.ParseAddr(keys.LastPart(kv.Key))
	if err != nil {
		return nil //nolint:nilerr // not one of ours
	}
	var l Lease
	if err := keys.DecodeKey(kv.Key, kv.Value, &l); err != nil {
		return err
	}
	each(a, l)
	return nil
}
