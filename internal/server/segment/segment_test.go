package segment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/netlab"
)

// A segment follows the interfaces of its whole process, so that one under test
// is this very program in a namespace.
const modeOfChild = "GILD_TEST_SEGMENT"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeOfChild); mode != "" {
		serveOn(mode)
		return
	}
	os.Exit(m.Run())
}

// teller prints alarms.
type teller struct{}

func (teller) Raise(kind, text string) { fmt.Println("RAISE", kind, text) }
func (teller) Clear(kind string)       { fmt.Println("CLEAR", kind) }

// serveOn runs a segment on br0 until its standard input ends. What it prints
// is what happens.
func serveOn(mode string) {
	modes := map[string]dhcpd.Mode{"server": dhcpd.Full, "auto": dhcpd.Full, "listening": dhcpd.Listening, "proxy": dhcpd.Proxy}
	c := dhcpd.Config{
		Mode: modes[mode], Interface: "br0", ServerIP: netip.MustParseAddr("10.77.0.1"), Subnet: netip.MustParsePrefix("10.77.0.0/24"),
		First: netip.MustParseAddr("10.77.0.100"), Last: netip.MustParseAddr("10.77.0.199"),
		Script: "http://10.77.0.1:8080/ipxe", HTTPBase: "http://10.77.0.1:8080/boot",
		NBP: func(iana.Arch) (string, error) { return "ipxe.efi", nil },
	}
	s := &Segment{
		Config: c, Auto: mode == "auto" || mode == "listening", Pool: dhcpd.NewPool(c.First, c.Last), Alarms: teller{},
		Move: func(p netip.Prefix) error {
			if p.Addr() == netip.MustParseAddr("10.77.0.66") {
				return errors.New("66 will not do")
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	sockets, err := s.Open(ctx)
	if err != nil {
		fmt.Println("OPEN", err)
		os.Exit(1)
	}
	fmt.Println("OPEN")
	fmt.Println("END", s.Run(ctx, sockets))
}

// running is a segment in another process.
type running struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed with the next line
}

func start(t *testing.T, l netlab.Lab, mode string) *running {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", l.Server, os.Args[0])
	cmd.Env = append(os.Environ(), modeOfChild+"="+mode)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	child.For(t, cmd)
	r := &running{t: t, more: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.mu.Lock()
			r.lines = append(r.lines, lines.Text())
			close(r.more)
			r.more = make(chan struct{})
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the segment said:\n%s", strings.Join(r.lines, "\n"))
		}
	})
	r.says("OPEN")
	return r
}

// says waits for a line that holds a text.
func (r *running) says(text string) {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		r.mu.Lock()
		more := r.more
		found := slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, text) })
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-deadline:
			r.t.Fatalf("the segment did not say %q", text)
		}
	}
}

// offers asks once as a system, and as a machine that boots, and returns what
// is offered until nothing comes any more.
func offers(t *testing.T, l netlab.Lab) (addrs []string) {
	t.Helper()
	err := netlab.In(t, l.Client, func() error {
		conn, err := nclient4.NewRawUDPConn("c0", 68)
		if err != nil {
			return err
		}
		defer conn.Close()
		ask, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 7, 7}, dhcpv4.WithBroadcast(true))
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		for buf := make([]byte, 1500); ; {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return nil // the time is over
			}
			if p, err := dhcpv4.FromBytes(buf[:n]); err == nil && p.TransactionID == ask.TransactionID &&
				p.MessageType() == dhcpv4.MessageTypeOffer {
				addrs = append(addrs, p.ServerIdentifier().String())
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

// dnsmasq is another server, of the network's own.
func dnsmasq(t *testing.T, l netlab.Lab) {
	t.Helper()
	cmd := netlab.Command(t, l.Other, "dnsmasq", "-k", "-C", "/dev/null", "-p", "0", "-i", "o0", "--bind-interfaces",
		"--dhcp-range=10.77.0.50,10.77.0.90,1h", "--user=root", "--pid-file=", "--dhcp-leasefile="+t.TempDir()+"/leases")
	child.For(t, cmd)
}

// A machine that asks by an InfiniBand card is told of where the operator
// looks, also while DHCP listens only.
func TestInfiniBand(t *testing.T) {
	l := netlab.New(t)
	r := start(t, l, "listening")
	err := netlab.In(t, l.Client, func() error {
		conn, err := nclient4.NewRawUDPConn("c0", 68)
		if err != nil {
			return err
		}
		defer conn.Close()
		ask, err := dhcpv4.NewDiscovery(nil, dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{255, 1, 2, 3, 4})))
		if err != nil {
			return err
		}
		ask.HWType, ask.ClientHWAddr = iana.HWTypeInfiniband, nil
		_, err = conn.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.says("RAISE infiniband a machine asks for an address on br0")
}

// The boot interface is made anew, as a bridge or a VLAN that is set up again.
func TestInterfaceMadeAnew(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	r := start(t, l, "server")
	if got := offers(t, l); len(got) != 1 {
		t.Fatalf("offers %v; want one", got)
	}
	netlab.IP(t, "-n "+l.Server+" link del br0")
	r.says("RAISE interface network interface br0 is gone")
	netlab.IP(t, "-n "+l.Server+" link add br0 type bridge forward_delay 0")
	netlab.IP(t, "-n "+l.Server+" link set p-c0 master br0")
	netlab.IP(t, "-n "+l.Server+" link set br0 up")
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.0.1/24 dev br0")
	r.says("DHCP is heard again")
	r.says("CLEAR interface")
	if got := offers(t, l); len(got) != 1 {
		t.Errorf("offers %v after the interface was made anew; want one", got)
	}
}

// An address that is gone is offered by nobody; one that is set again is the
// same; another one ends the segment, unless the settings do not fit it.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	r := start(t, l, "proxy")
	netlab.IP(t, "-n "+l.Server+" addr del 10.77.0.1/24 dev br0")
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.0.66/24 dev br0")
	r.says("RAISE address br0 has not the address 10.77.0.1 any more (it has: 10.77.0.66/24), to which machines are sent: 66 will not do")
	if got := offers(t, l); len(got) != 0 {
		t.Errorf("offers %v although the address is gone; want none", got)
	}
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.0.1/24 dev br0")
	r.says("CLEAR address")
	netlab.IP(t, "-n "+l.Server+" addr flush dev br0")
	netlab.IP(t, "-n "+l.Server+" addr add 169.254.3.4/16 dev br0")
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.0.9/24 dev br0")
	r.says("END " + ErrMoved.Error())
}

// Another server appears while this one leases: it gives way when it may
// choose, and tells of it when not.
func TestAnotherServerAppears(t *testing.T) {
	for mode, want := range map[string]struct {
		says  string
		leave bool
	}{
		"auto":   {"gild leases none any more", true},
		"server": {"leases addresses on br0 too", false},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			l := netlab.New(t)
			r := start(t, l, mode)
			if got := offers(t, l); len(got) != 1 {
				t.Fatalf("offers %v; want one", got)
			}
			dnsmasq(t, l)
			r.says("RAISE other-dhcp DHCP server 10.77.0.2")
			r.says(want.says)
			if ours := slices.Contains(offers(t, l), "10.77.0.1"); ours == want.leave {
				t.Errorf("it still leases: %v; want %v", ours, !want.leave)
			}
		})
	}
}

// A cable that is plugged in later leads to a network with a server of its own,
// or to one without.
func TestCarrierComesLater(t *testing.T) {
	for name, other := range map[string]bool{"alone": false, "beside dnsmasq": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := netlab.New(t)
			for _, nic := range []string{"p-c0", "p-o0"} {
				netlab.IP(t, "-n "+l.Server+" link set "+nic+" down")
			}
			r := start(t, l, "listening")
			r.says("RAISE interface network interface br0 has no carrier")
			if other {
				dnsmasq(t, l)
			}
			for _, nic := range []string{"p-c0", "p-o0"} {
				netlab.IP(t, "-n "+l.Server+" link set "+nic+" up")
			}
			r.says("CLEAR interface")
			got := offers(t, l)
			if slices.Contains(got, "10.77.0.1") {
				t.Errorf("offers %v before it is known who else is there", got)
			}
			if other {
				r.says("adding boot files to its leases")
			} else {
				r.says("no DHCP server answers on br0: leasing addresses")
			}
			if got := offers(t, l); slices.Contains(got, "10.77.0.1") == other {
				t.Errorf("offers %v; want one of this server: %v", got, !other)
			}
		})
	}
}
