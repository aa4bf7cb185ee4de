package etcd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/addresses"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
	"github.com/gild-dev/gild/internal/tier"
)

// callWithin is how long one request to etcd takes at most, see package keys.
const callWithin = 10 * time.Second

// connect waits for a cluster that has just been started.
func connect(t *testing.T, c Cluster) *clientv3.Client {
	t.Helper()
	var err error
	for range 5 {
		client, e := c.Connect(t.Context())
		if err = e; err == nil {
			t.Cleanup(func() { client.Close() })
			return client
		}
		time.Sleep(300 * time.Millisecond)
	}
	t.Fatalf("Connect = %v", err)
	return nil
}

// foreign is a store on a cluster that is not ours.
func foreign(t *testing.T, members []*etcdtest.Member) *state.Store {
	t.Helper()
	client := connect(t, Cluster{Endpoints: etcdtest.Endpoints(members)})
	return state.New(keys.Space{Client: client, Prefix: "/room/7/"}, storetest.NICs, nil)
}

// TestForeignStore runs the table of TestStore on a cluster of the operator's.
func TestForeignStore(t *testing.T) {
	tier.Slow(t, "starts an etcd of three members")
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := foreign(t, etcdtest.Start(t, n))
			storetest.Run(t, s)
		})
	}
}

// TestLostMembers kills members of three in the middle of work.
func TestLostMembers(t *testing.T) {
	tier.Slow(t, "starts an etcd of three members")
	all := etcdtest.Start(t, 3)
	s := foreign(t, all)
	acked := uint64(0)
	count := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		m, err := s.Update(ctx, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) {
			m.Seq++
			return []api.Event{{Seq: m.Seq}}, nil
		})
		if err == nil {
			acked = m.Seq
		}
		return err
	}
	work := func(n int) (failed int) {
		for range n {
			if count(callWithin+time.Second) != nil {
				failed++
			}
		}
		return failed
	}
	if failed := work(50); failed > 0 {
		t.Fatalf("%d of 50 changes failed on a whole cluster", failed)
	}
	watched := make(chan error, 1)
	go func() { watched <- s.Follow(t.Context(), 1)(func(state.Change) error { return nil }) }()
	all[0].Kill()
	begin := time.Now()
	if failed := work(50); failed > 3 {
		t.Errorf("%d of 50 changes failed with one member of three killed; want hardly any", failed)
	}
	t.Logf("one of three killed: 50 changes in %v", time.Since(begin).Round(time.Millisecond))

	all[1].Kill()
	begin = time.Now()
	err := count(time.Minute)
	if _, ok := errors.AsType[*keys.UnavailableError](err); !ok || time.Since(begin) > 2*callWithin+time.Minute {
		t.Errorf("Update without a quorum = %v after %v; want an UnavailableError within %v", err, time.Since(begin), 2*callWithin)
	}
	t.Logf("two of three killed: %v (%v)", err, time.Since(begin).Round(time.Millisecond))
	if _, _, err := addresses.Claim(t.Context(), s.Space, netip.MustParseAddr("10.0.0.9"),
		addresses.Lease{Client: []byte("x"), Until: time.Now().Add(time.Hour)}, time.Now()); err == nil {
		t.Error("ClaimAddress without a quorum = nil; want an error")
	}
	all[0].Start(t)
	begin = time.Now()
	for err = count(3 * time.Second); err != nil && time.Since(begin) < 2*time.Minute; err = count(3 * time.Second) {
	}
	if err != nil {
		t.Fatalf("Update with the quorum back = %v", err)
	}
	t.Logf("quorum back: works again after %v", time.Since(begin).Round(time.Millisecond))
	m, err := s.Get(t.Context(), storetest.MAC)
	events, err2 := s.Events(t.Context(), storetest.MAC)
	if err != nil || err2 != nil || m.Seq != acked || uint64(len(events)) != m.Seq {
		t.Errorf("count %d with %d events, %v %v; want %d acknowledged", m.Seq, len(events), err, err2, acked)
	}
	select {
	case err := <-watched:
		t.Logf("watch ended: %v", err) // its reader comes back
	default:
	}
}

// What an operator can get wrong is told with a hint, within the time.
func TestConnectRefusals(t *testing.T) {
	for _, c := range []struct {
		cluster Cluster
		says    string
	}{
		{Cluster{Endpoints: []string{"http://127.0.0.1:1"}}, "cannot be used"},
		{Cluster{Endpoints: []string{"127.0.0.1:2379"}}, "not of the form"},
		{Cluster{}, "no etcd address"},
		{Cluster{Endpoints: []string{"http://a:1"}, CA: "x"}, "not https"},
		{Cluster{Endpoints: []string{"http://a:1", "https://b:1"}}, "some are not"},
		{Cluster{Endpoints: []string{"https://b:1"}, CA: "/nowhere"}, "reading"},
		{Cluster{Endpoints: []string{"https://b:1"}, Key: "/nowhere"}, "reading"},
		{Cluster{Endpoints: []string{"http://10.0.0.1:2379"}, User: "u", Password: "canary"}, "in the clear"},
	} {
		begin := time.Now()
		_, err := c.cluster.Connect(t.Context())
		e, ok := errors.AsType[*ClusterError](err)
		if !ok || e.Hint() == "" || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("Connect(%v) = %v; want %q with a hint", c.cluster.Endpoints, err, c.says)
		}
		if took := time.Since(begin); took > connectWithin+time.Minute {
			t.Errorf("Connect(%v) took %v", c.cluster.Endpoints, took)
		}
	}
	for version, want := range map[string]bool{
		"3.3.25": false, "3.4.23": true, "3.7.3": true, "4.0.0": false, "2.3": false,
		"not decided": false,
	} {
		if err := checkVersion("x", version); (err == nil) != want {
			t.Errorf("checkVersion(%s) = %v; want accepted %v", version, err, want)
		}
	}
}
