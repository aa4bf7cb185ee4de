package state

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// claimWithin bounds a claim: a client of DHCP asks again after 4 seconds.
const claimWithin = 2 * time.Second

// clockSlack is how far the clocks of two servers may be apart before one
// takes a lease of the other for over.
const clockSlack = time.Minute

type addressLease struct {
	Client []byte    `json:"client"` // may be any bytes
	Until  time.Time `json:"until"`
}

// ClaimAddress leases an address to a client of DHCP until a time, or tells
// until when another client has it, by whichever server.
func (s *Store) ClaimAddress(ctx context.Context, a netip.Addr, client string, now, until time.Time) (taken time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	key := s.key("lease", a.String())
	for {
		resp, err := s.get(ctx, key)
		if err != nil {
			return time.Time{}, fmt.Errorf("leasing %v: %w", a, err)
		}
		rev := int64(0)
		if len(resp.Kvs) > 0 {
			var l addressLease
			if err := decodeKey(resp.Kvs[0].Key, resp.Kvs[0].Value, &l); err != nil {
				return time.Time{}, err
			}
			if end := l.Until.Add(clockSlack); string(l.Client) != client && end.After(now) {
				return end, nil
			}
			rev = resp.Kvs[0].ModRevision
		}
		p, err := encode(addressLease{[]byte(client), until})
		if err != nil {
			return time.Time{}, err
		}
		done, err := s.txn(ctx, []clientv3.Cmp{unchanged(key, rev)}, clientv3.OpPut(key, p))
		if err != nil {
			return time.Time{}, fmt.Errorf("leasing %v: %w", a, err)
		}
		if done.Succeeded {
			return time.Time{}, nil
		}
	}
}
