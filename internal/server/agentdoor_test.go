package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/api/cluster"
	"github.com/gild-dev/gild/internal/server/bootca"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// armed gives the machine an arm and returns the ticket of its boot script.
func armed(t *testing.T, r *running) (ticket string) {
	t.Helper()
	if _, err := r.operator.Flash(t.Context(), mac, machinestest.Flash("debian")); err != nil {
		t.Fatal(err)
	}
	script := get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	_, rest, _ := strings.Cut(script, "gild.ticket=")
	ticket, _, _ = strings.Cut(rest, " ")
	if ticket == "" || !strings.Contains(script, "gild.server="+sniff.Base(r.BaseURL)) {
		t.Fatalf("script = %q; want a ticket, and a server by TLS", script)
	}
	return ticket
}

// The agent of an older initramfs is sent back to the boot script, which gives
// it its successor, and the operator is told. One that no script has started
// continues as before.
func TestPlainAgents(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	ticket := armed(t, r)
	plain, err := agentclient.New(r.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	h := machinestest.Hello("s1", mac)
	h.Ticket = ticket
	a, _, err := plain.Hello(t.Context(), h)
	if err != nil || a.Action != api.ActionLocalDisk || a.Plan != nil || !strings.Contains(a.Message, "restarts") {
		t.Errorf("Hello of an older agent = %+v, %v; want a restart", a, err)
	}
	events, err := r.operator.Events(t.Context(), mac)
	if err != nil || len(events) == 0 {
		t.Fatal(events, err)
	}
	if last := events[len(events)-1]; last.Cause != api.CauseOutdated || last.State != api.StateFailed {
		t.Errorf("the operator is told %+v", last)
	}
	// The ticket was not used up, though it was seen by everybody on the wire.
	body := fmt.Sprintf(`{"version":%d,"session":"s2","ticket":%q,"inventory":{"mac":%q}}`, api.Version, ticket, mac)
	if status := r.say(t, api.PathHello, body); status != 200 {
		t.Errorf("its successor = %d; want 200", status)
	}
	m, err := r.operator.Machine(t.Context(), mac)
	if err != nil || m.State != api.MachineFlashing {
		t.Errorf("after its successor's hello: %s, %v; want it flashing", m.State, err)
	}
}

func TestPlainWithoutATicket(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	armed(t, r)
	plain, err := agentclient.New(r.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := plain.Hello(t.Context(), machinestest.Hello("s1", mac))
	if err != nil || a.Action != api.ActionFlash {
		t.Fatalf("Hello = %+v, %v; want the plan", a, err)
	}
	for _, s := range a.Servers {
		if !strings.HasPrefix(s, "http://") {
			t.Errorf("it is told of the server %s, which it cannot speak to", s)
		}
	}
	_, err = plain.Identity(t.Context(), api.IdentityRequest{Session: "s1", MAC: mac, Plan: a.Plan.ID})
	if status, ok := errors.AsType[*cluster.StatusError](err); !ok || status.Status != http.StatusUpgradeRequired ||
		!strings.Contains(status.Detail, "restart the machine") {
		t.Errorf("Identity = %v; want 426 and what to do", err)
	}
}

// An agent that trusts another CA cannot be spoken to. Its record says so, by
// the address that was leased to it.
func TestUntrustedIsNoted(t *testing.T) {
	s := newServer(t, t.TempDir())
	var m *machines.Core
	s.protocols = append(s.protocols, service.Opener[*machines.Core]{
		Name: "peek",
		Open: func(_ context.Context, all *machines.Core) (service.Service, func() error, error) {
			m = all
			return service.Func(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil, nil
		},
	})
	r := start(t, s)
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	m.Cards.Leased(dhcpd.ClientKey(hw), netip.MustParseAddr("127.0.0.1"), time.Now().Add(time.Hour))
	other := start(t, newServer(t, t.TempDir()))
	agent, err := agentclient.Trusting(sniff.Base(r.BaseURL), other.ca)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = agent.Hello(t.Context(), machinestest.Hello("s1", mac))
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Fatalf("Hello to a server of another CA = %v", err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		events, err := r.operator.Events(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		if last := events[len(events)-1]; last.Cause == api.CauseUntrusted {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the record does not say so: %+v", events)
		}
	}
}

// The CA stays through restarts and backups, and servers that start together
// have one.
func TestOneCA(t *testing.T) {
	dir := t.TempDir()
	first := start(t, newServer(t, dir))
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(FileCA(dir)); err != nil {
		t.Fatal(err)
	}
	again := start(t, newServer(t, dir))
	if !bytes.Equal(first.ca, again.ca) {
		t.Errorf("a restart has made another CA:\n%s\n%s", first.ca, again.ca)
	}
	if got := get(t, again.BaseURL+"/boot/ca.pem"); got != string(again.ca) {
		t.Errorf("machines are given %q", got)
	}

	store := newMachines(t).Store
	var all sync.WaitGroup
	cas := make([][]byte, 8)
	for i := range cas {
		all.Go(func() {
			ca, err := bootca.Load(t.Context(), store)
			if err != nil {
				t.Error(err)
				return
			}
			cas[i] = ca.PEM()
		})
	}
	all.Wait()
	for _, ca := range cas {
		if !bytes.Equal(ca, cas[0]) || len(ca) == 0 {
			t.Fatal("servers that start together have several CAs")
		}
	}

	var kept bytes.Buffer
	if _, err := backup.Write(t.Context(), store.Space, &kept); err != nil {
		t.Fatal(err)
	}
	empty := newMachines(t).Store
	if _, err := backup.Restore(t.Context(), empty, &kept); err != nil {
		t.Fatal(err)
	}
	restored, err := bootca.Load(t.Context(), empty)
	if err != nil || !bytes.Equal(restored.PEM(), cas[0]) {
		t.Errorf("after a restore: %v, and another CA", err)
	}
}

func TestDamagedCA(t *testing.T) {
	m := newMachines(t)
	m.BaseURL = "http://10.0.0.1:8080"
	if err := docs.Put(t.Context(), m.Store.Space, "secret", "boot-ca", map[string]string{"certificate": "x"}); err != nil {
		t.Fatal(err)
	}
	_, err := openAgentDoor(t.Context(), t.TempDir(), m, slog.New(slog.DiscardHandler))
	if setup, ok := errors.AsType[*setup.Error](err); !ok || !strings.Contains(setup.Hint(), "gild state restore") {
		t.Errorf("openAgentDoor = %v; want what to do", err)
	}
}
