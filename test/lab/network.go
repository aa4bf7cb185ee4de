package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/test/lab/host"
)

// Bridge is the name of every lab network's switch, and so of the interface
// that a server listens on.
const Bridge = "br0"

const (
	// bridgeMAC is locally administered. Without one of its own a bridge takes the
	// lowest address among its ports, and changes it under a running server when a
	// machine is plugged in.
	bridgeMAC = "02:67:69:6c:64:01"
	// A cable that is always plugged in: a bridge whose only ports are taps of
	// machines that are off has no carrier, and neither servers nor probes may find
	// it like that.
	cable, cableEnd = "cable0", "cable1"
	carrierWait     = 10 * time.Second
	namespaceDir    = "/run/netns" // of ip-netns(8)
	namespacePrefix = "gild-lab-"
	ipWait          = 30 * time.Second
)

// Network is a network that exists only for its owner: a namespace with a
// bridge, which has an address, and taps for virtual machines. Neither the host
// nor another network can be reached from it.
type Network struct {
	Namespace string       // for vm.Config and "ip netns"
	Addr      netip.Prefix // the bridge's own, 10.77.0.1/24

	hosts      int            // beside the bridge
	namespaces []func() error // remove them: the network's own, and one for each host
	closing    sync.Once
	err        error
}

// NetworkFor makes a network that ends with the test. It skips the test where
// that is not possible.
func NetworkFor(t testing.TB) *Network {
	t.Helper()
	host.Need(t, "ip")
	n, err := NewNetwork(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// NewNetwork makes a network, as root. The caller must Close it; if this
// process is killed, it goes too.
func NewNetwork(ctx context.Context) (*Network, error) {
	n := &Network{Addr: netip.MustParsePrefix("10.77.0.1/24")}
	var err error
	if n.Namespace, err = n.addNamespace(ctx); err != nil {
		return nil, fmt.Errorf("make a lab network: %w", err)
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		// Without spanning tree a port forwards at once; with it, DHCP clients give up
		// first.
		{"link", "add", Bridge, "address", bridgeMAC, "type", "bridge", "stp_state", "0", "forward_delay", "0"},
		{"link", "add", cable, "type", "veth", "peer", "name", cableEnd},
		{"link", "set", cableEnd, "up"},
		{"link", "set", cable, "master", Bridge, "up"},
		{"address", "add", n.Addr.String(), "dev", Bridge},
		{"link", "set", Bridge, "up"},
	} {
		if err := n.ip(ctx, args...); err != nil {
			_ = n.Close()
			return nil, fmt.Errorf("make a lab network: %w", err)
		}
	}
	if err := n.waitCarrier(ctx, Bridge); err != nil {
		_ = n.Close()
		return nil, fmt.Errorf("make a lab network: %w", err)
	}
	return n, nil
}

// waitCarrier returns when an interface carries. The kernel notices a plugged
// cable up to a second later, and until then a port of the bridge forwards
// nothing.
func (n *Network) waitCarrier(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, carrierWait, fmt.Errorf("no carrier on %s after %v", name, carrierWait))
	defer cancel()
	for {
		out, err := n.Command(ctx, "cat", "/sys/class/net/"+name+"/operstate").Output()
		if err == nil && strings.TrimSpace(string(out)) == "up" {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// addNamespace makes a namespace named after this process, which goes with the
// network. A number tells a process's networks apart: "ip netns add" fails on a
// name that is taken, so the first free one is ours alone.
func (n *Network) addNamespace(ctx context.Context) (string, error) {
	for i := range 1000 {
		name := fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), i)
		if host.IsThere(filepath.Join(namespaceDir, name)) {
			continue
		}
		err := ip(ctx, "netns", "add", name)
		if err == nil {
			var remove func() error
			if remove, err = child.AtEnd("ip", "netns", "delete", name); err == nil {
				n.namespaces = append(n.namespaces, remove)
			}
		}
		if err == nil || !strings.Contains(err.Error(), "File exists") {
			return name, err
		}
	}
	return "", fmt.Errorf("a thousand networks of this process are in %s", namespaceDir)
}

// Close removes the network. Processes still in it lose their cables and their
// bridge.
func (n *Network) Close() error {
	n.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ipWait)
		defer cancel()
		// A process that outlives the test keeps the namespace's interfaces alive: take
		// them first.
		_ = n.ip(ctx, "link", "delete", Bridge)
		for _, remove := range n.namespaces {
			n.err = errors.Join(n.err, remove())
		}
	})
	return n.err
}

// Tap adds a port for a virtual machine and returns the tap's name, for
// [vm.NIC]. name is at most 15 bytes and need be unique only in this network.
func (n *Network) Tap(ctx context.Context, name string) (string, error) {
	for _, args := range [][]string{
		{"tuntap", "add", "dev", name, "mode", "tap"},
		{"link", "set", name, "master", Bridge, "up"},
	} {
		if err := n.ip(ctx, args...); err != nil {
			return "", fmt.Errorf("add tap %s: %w", name, err)
		}
	}
	return name, nil
}

// Host adds another computer to the network, a namespace with one interface
// called eth0, and returns that namespace: two programs that want one port, as
// two DHCP servers do, cannot share a computer. It ends with the network.
func (n *Network) Host(ctx context.Context, addr string) (namespace string, err error) {
	host, err := n.addNamespace(ctx)
	if err != nil {
		return "", fmt.Errorf("add host %s: %w", addr, err)
	}
	n.hosts++
	port := fmt.Sprintf("host%d", n.hosts)
	inside := func(args ...string) error { return ip(ctx, append([]string{"-netns", host}, args...)...) }
	if err := errors.Join(
		n.ip(ctx, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host),
		n.ip(ctx, "link", "set", port, "master", Bridge, "up"),
		inside("link", "set", "lo", "up"),
		inside("address", "add", addr, "dev", "eth0"),
		inside("link", "set", "eth0", "up"),
		n.waitCarrier(ctx, port),
		(&Network{Namespace: host}).waitCarrier(ctx, "eth0"),
	); err != nil {
		return "", fmt.Errorf("add host %s: %w", addr, err)
	}
	return host, nil
}

// SetLink cuts or mends the way between a tap and the bridge. The guest keeps
// its carrier, as with a switch that fails further on; [vm.Monitor.SetLink]
// takes the carrier too.
func (n *Network) SetLink(ctx context.Context, tap string, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	return n.ip(ctx, "link", "set", tap, state)
}

// Pace makes what goes to a tap no faster than rate, as tc(8) writes it:
// "8mbit".
func (n *Network) Pace(ctx context.Context, tap, rate string) error {
	out, err := n.Command(ctx, "tc", "qdisc", "replace", "dev", tap, "root", "tbf", "rate", rate, "burst", "32kb", "latency",
		"50ms").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pacing %s: %w: %s", tap, err, out)
	}
	return nil
}

// Command is exec.CommandContext for a program that runs inside the network.
func (n *Network) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// ip replaces itself by the program: its process id, and a signal to it, are
	// the program's.
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Namespace, name}, args...)...)
}

// Do runs fn inside the network: sockets that fn itself opens are there and
// stay there. Goroutines that fn starts are not.
func (n *Network) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: a thread that is in a namespace must not serve other
		// goroutines.
		runtime.LockOSThread()
		file, err := os.Open(filepath.Join(namespaceDir, n.Namespace))
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		if err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", n.Namespace, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// ip runs iproute2 inside the network.
func (n *Network) ip(ctx context.Context, args ...string) error {
	return ip(ctx, append([]string{"-netns", n.Namespace}, args...)...)
}

func ip(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, ipWait)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
