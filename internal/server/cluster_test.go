package server

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/server/state"
)

// foreignEtcd starts Debian's etcd on free ports.
func foreignEtcd(t *testing.T) *state.Cluster {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("etcd is not installed (apt-get install etcd-server)")
	}
	port := func() string {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	us, peer := port(), port()
	cmd := exec.Command("etcd", "--name", "m", "--data-dir", t.TempDir(), "--listen-client-urls", us, "--advertise-client-urls", us,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "m="+peer, "--log-level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &state.Cluster{Endpoints: []string{us}}
}

// Two servers on one cluster: what one is told the other knows, there is one
// plan, and an agent whose server goes away carries on with the other.
func TestTwoServers(t *testing.T) {
	cluster := foreignEtcd(t)
	begin := func() *running {
		s := newServer(t, t.TempDir())
		s.Etcd, s.Prefix = cluster, "rooms/one"
		return start(t, s)
	}
	a, b := begin(), begin()
	get(t, a.BaseURL+"/machine.ipxe?mac="+mac)
	m, err := b.operator.Flash(t.Context(), mac, api.FlashRequest{Image: "debian"})
	if err != nil {
		t.Fatal(err)
	}
	var script string
	for range 50 { // an announcement is a moment under way, and read every few seconds
		script = get(t, a.BaseURL+"/machine.ipxe?mac="+mac)
		if strings.Contains(script, a.BaseURL+","+b.BaseURL) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_, list, _ := strings.Cut(script, "gild.server=")
	list, _, _ = strings.Cut(list, " ")
	if !slices.Equal(strings.Split(list, ","), []string{a.BaseURL, b.BaseURL}) {
		t.Fatalf("script of the first server = %q; want both servers, itself first", script)
	}

	c, err := client.New(list)
	if err != nil {
		t.Fatal(err)
	}
	hello := api.Hello{Version: api.Version, Session: "s1", Inventory: api.Inventory{MAC: mac, Firmware: "bios"}}
	answer, _, err := c.Hello(t.Context(), hello)
	if err != nil || answer.Plan == nil || answer.Plan.ID != m.Armed.Plan.ID {
		t.Fatalf("Hello to the first = %+v, %v; want the plan that the second armed", answer, err)
	}
	hello.Session = "s2"
	other, err := client.New(b.BaseURL)
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
