package lab

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/test/lab/host"
)

func TestNetwork(t *testing.T) {
	n := NetworkFor(t)
	other := NetworkFor(t)
	if n.Namespace == other.Namespace {
		t.Fatalf("two networks are both called %s", n.Namespace)
	}
	if _, err := n.Tap(t.Context(), "tap0"); err != nil {
		t.Fatal(err)
	}

	// What is opened inside is reached from inside, and from nowhere else.
	var listener net.Listener
	err := n.Do(func() (err error) {
		var config net.ListenConfig
		listener, err = config.Listen(t.Context(), "tcp", net.JoinHostPort(n.Addr.Addr().String(), "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := func() error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := n.Do(dial); err != nil {
		t.Errorf("dial inside the network: %v", err)
	}
	if err := other.Do(dial); err == nil {
		t.Error("another network reached this one")
	}

	out, err := n.Command(t.Context(), "ip", "-brief", "link", "show", "master", Bridge).Output()
	if err != nil || !strings.Contains(string(out), "tap0") {
		t.Errorf("ports of the bridge: %q, %v; want tap0 among them", out, err)
	}
	for _, up := range []bool{false, true} {
		if err := n.SetLink(t.Context(), "tap0", up); err != nil {
			t.Error(err)
		}
		flags, err := n.Command(t.Context(), "ip", "link", "show", "tap0").Output()
		if err != nil || strings.Contains(string(flags), ",UP") != up {
			t.Errorf("tap0 after SetLink(%v): %s, %v", up, flags, err)
		}
	}

	path := filepath.Join(namespaceDir, n.Namespace)
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if host.IsThere(path) {
		t.Errorf("%s is there after Close", path)
	}
}

// A server that opens its sockets before any machine is there must hear the
// first broadcast of one that is plugged in later, and must keep its hardware
// address.
func TestNetworkCarriesBroadcastsFromTheStart(t *testing.T) {
	for range 3 {
		n := NetworkFor(t)
		mac := func() string {
			out, _ := n.Command(t.Context(), "cat", "/sys/class/net/"+Bridge+"/address").Output()
			return strings.TrimSpace(string(out))
		}
		var heard net.PacketConn
		err := n.Do(func() (err error) {
			var config net.ListenConfig
			heard, err = config.ListenPacket(t.Context(), "udp4", "0.0.0.0:67")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer heard.Close()
		host, err := n.Host(t.Context(), "10.77.0.2/24")
		if err != nil {
			t.Fatal(err)
		}
		err = (&Network{Namespace: host}).Do(func() error {
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "udp4", "10.77.0.255:67")
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("first"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = heard.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 16)
		if size, _, err := heard.ReadFrom(buf); err != nil || string(buf[:size]) != "first" {
			t.Fatalf("the first broadcast of a new host: %q, %v", buf[:size], err)
		}
		if got := mac(); got != bridgeMAC {
			t.Errorf("%s has address %s with a host plugged in; want %s", Bridge, got, bridgeMAC)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
