package server

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/settings"
)

// foreignEtcd starts one member of Debian's etcd.
func foreignEtcd(t *testing.T) *etcd.Cluster {
	t.Helper()
	return &etcd.Cluster{Endpoints: etcdtest.Endpoints(etcdtest.Start(t, 1))}
}

// Two servers on one cluster: what one is told the other knows, there is one
// plan, and an agent whose server goes away carries on with the other.
func TestTwoServers(t *testing.T) {
	cluster := foreignEtcd(t)
	begin := func() *running {
		s := newServer(t, t.TempDir())
		s.State.Etcd, s.State.Prefix = cluster, "rooms/one"
		return start(t, s)
	}
	a, b := begin(), begin()
	if !bytes.Equal(a.ca, b.ca) {
		t.Fatalf("the servers of one cluster have two CAs:\n%s\n%s", a.ca, b.ca)
	}
	get(t, a.BaseURL+"/machine.ipxe?mac="+mac)
	m, err := b.operator.Flash(t.Context(), mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}})
	if err != nil {
		t.Fatal(err)
	}
	var script string
	for range 50 { // an announcement is a moment under way, and read every few seconds
		script = get(t, a.BaseURL+"/machine.ipxe?mac="+mac)
		if strings.Contains(script, sniff.Base(a.BaseURL)+","+sniff.Base(b.BaseURL)) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_, list, _ := strings.Cut(script, "gild.server=")
	list, _, _ = strings.Cut(list, " ")
	if !slices.Equal(strings.Split(list, ","), []string{sniff.Base(a.BaseURL), sniff.Base(b.BaseURL)}) {
		t.Fatalf("script of the first server = %q; want both servers, itself first", script)
	}

	c, err := agentclient.Trusting(list, a.ca)
	if err != nil {
		t.Fatal(err)
	}
	hello := api.Hello{Version: api.Version, Session: "s1", Inventory: api.Inventory{MAC: mac, Firmware: "bios"}}
	answer, _, err := c.Hello(t.Context(), hello)
	if err != nil || answer.Plan == nil || answer.Plan.ID != m.Armed.Plan.ID {
		t.Fatalf("Hello to the first = %+v, %v; want the plan that the second armed", answer, err)
	}
	hello.Session = "s2"
	other, err := agentclient.Trusting(b.BaseURL, a.ca)
	if err != nil {
		t.Fatal(err)
	}
	if answer, _, err := other.Hello(t.Context(), hello); err != nil || answer.Plan != nil {
		t.Errorf("Hello of another agent to the second = %+v, %v; want no plan", answer, err)
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	events := func(e ...api.Event) error {
		r := api.Report{Session: "s1", MAC: mac, Plan: m.Armed.Plan.ID, Events: e}
		err := c.Report(t.Context(), r)
		if err != nil {
			err = c.Report(t.Context(), r) // as the agent's queue does
		}
		return err
	}
	now := time.Now()
	if err := events(api.Event{Seq: 1, Time: now, Step: "flash", State: api.StateStart}); err != nil {
		t.Fatalf("Report after the first server went = %v; want the second to take it", err)
	}
	receipt := &api.Receipt{Plan: m.Armed.Plan.ID, Image: m.Armed.Plan.Image.Digest}
	if err := events(api.Event{Seq: 2, Time: now, Step: "flash", State: api.StateDone, Receipt: receipt}); err != nil {
		t.Fatal(err)
	}
	got, err := b.operator.Machine(t.Context(), mac)
	if err != nil || got.State != api.MachineHandingOff || got.Armed != nil {
		t.Errorf("Machine = %s, %v; want it handing off", got.State, err)
	}
	past, err := b.operator.Events(t.Context(), mac)
	n := 0
	for _, e := range past {
		if e.Seq > 0 {
			n++
		}
	}
	if err != nil || n != 2 {
		t.Errorf("%d events of the agent, %v; want both, each once: %s", n, err, fmt.Sprint(past))
	}
}

// Of many operators who give one name to many machines at once, by two
// servers, one succeeds, and so it is with an edit.
func TestOneNameOnTwoServers(t *testing.T) {
	cluster := foreignEtcd(t)
	var servers []*machines.Core
	for range 2 {
		client, err := cluster.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		servers = append(servers, &machines.Core{Store: machines.NewStore(client, "")})
	}
	const n = 50
	address := func(i int) string { return fmt.Sprintf("52:54:00:0b:00:%02x", i) }
	for what, do := range map[string]func(i int) error{
		"Register": func(i int) error {
			_, err := servers[i%2].Operators().Register(t.Context(), "", api.Spec{Name: "web-1", MACs: []string{address(i)}})
			return err
		},
		"Edit": func(i int) error {
			mac := address(100 + i)
			if _, err := servers[i%2].Operators().Register(t.Context(), "", api.Spec{MACs: []string{mac}}); err != nil {
				t.Error(err)
			}
			_, err := servers[i%2].Operators().Edit(t.Context(), "", mac, "", api.Spec{Name: "db-1", MACs: []string{mac}})
			return err
		},
	} {
		var all sync.WaitGroup
		var won atomic.Int32
		for i := range n {
			all.Go(func() {
				err := do(i)
				if _, refused := errors.AsType[*fleet.ConflictError](err); err == nil {
					won.Add(1)
				} else if !refused {
					t.Errorf("%s = %v; want a conflict", what, err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%s of one name by %d operators: %d succeed; want 1", what, n, won.Load())
		}
	}
	list, err := servers[0].Operators().Machines(t.Context(), "")
	named := 0
	for _, m := range list {
		if m.Spec.Name != "" {
			named++
		}
	}
	if err != nil || named != 2 {
		t.Errorf("%d machines have a name, %v; want 2", named, err)
	}
}
