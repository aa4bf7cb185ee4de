package dhcpd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/netlab"
)

// lab is a network of a server, a client and another server's host.
type lab struct{ netlab.Lab }

func newLab(t *testing.T) lab { return lab{netlab.New(t)} }

// serve runs a server on the lab's bridge until the test ends.
func (l lab) serve(t *testing.T, mode Mode) (events func() []Event) {
	t.Helper()
	var mu sync.Mutex
	var got []Event
	c := testConfig(mode)
	c.Interface = "br0"
	s := &Server{Responder: Responder{Config: c}, Events: func(e Event) { mu.Lock(); got = append(got, e); mu.Unlock() }}
	var dhcp, pxe net.PacketConn
	err := netlab.In(t, l.Server, func() (err error) {
		if dhcp, err = listen(t.Context(), "br0", portDHCP); err == nil {
			pxe, err = listen(t.Context(), "br0", portPXE)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, dhcp, pxe) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v; want nil", err)
		}
	})
	return func() []Event { mu.Lock(); defer mu.Unlock(); return append([]Event(nil), got...) }
}

// run executes a program in the client's namespace and gives its output.
func (l lab) run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.Client, name}, args...)...).CombinedOutput()
	return string(out), err
}

// script writes a hook for a DHCP client that saves what it learnt, and changes
// nothing.
func script(t *testing.T) (path, saved string) {
	t.Helper()
	dir := t.TempDir()
	path, saved = filepath.Join(dir, "hook"), filepath.Join(dir, "env")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nenv >> "+saved+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, saved
}

func mustContain(t *testing.T, file string, wants ...string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	for _, w := range wants {
		if !bytes.Contains(got, []byte(w)) {
			t.Errorf("client learnt\n%s\nwant %q in it", got, w)
		}
	}
}

func TestUdhcpc(t *testing.T) {
	l := newLab(t)
	events := l.serve(t, Full)
	hook, saved := script(t)
	out, err := l.run(t, "udhcpc", "-i", "c0", "-f", "-n", "-q", "-R", "-t", "5", "-T", "1", "-s", hook,
		"-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-O", "bootfile", "-O", "tftp")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustContain(t, saved, "ip=10.77.0.1", "subnet=255.255.255.0", "router=10.77.0.254", "dns=10.77.0.253", "domain=lab.example",
		"siaddr=10.77.0.1", "boot_file=ipxe.efi", "lease=3600", "serverid=10.77.0.1", "bootfile=ipxe.efi", "tftp=10.77.0.1")
	kinds := ""
	for _, e := range events() {
		kinds += e.Asked.String() + ">" + e.Answer.String() + " "
	}
	if !strings.HasPrefix(kinds, "DISCOVER>OFFER REQUEST>ACK ") {
		t.Errorf("events %s", kinds)
	}
}

func TestDhclient(t *testing.T) {
	l := newLab(t)
	l.serve(t, Full)
	hook, saved := script(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("timeout 100;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-4", "-1", "-d", "-sf", hook, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "c0"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := exec.LookPath("dhclient"); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", l.Client, "dhclient"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	child.For(t, cmd)
	// With -d it stays: wait for what it learnt, then stop it.
	for ctx.Err() == nil {
		if b, _ := os.ReadFile(saved); bytes.Contains(b, []byte("reason=BOUND")) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	_ = cmd.Wait()
	mustContain(t, saved, "new_ip_address=10.77.0.1", "new_routers=10.77.0.254", "new_domain_name=lab.example",
		"new_dhcp_server_identifier=10.77.0.1")
}

// Beside dnsmasq, both answer a machine that boots, and a client without PXE
// gets dnsmasq's lease as if there were no proxy.
func TestProxyBesideDnsmasq(t *testing.T) {
	l := newLab(t)
	events := l.serve(t, Proxy)
	probe := func() (found []OtherServer) {
		if err := netlab.In(t, l.Client, func() (err error) { found, err = Probe(t.Context(), "c0"); return err }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := probe(); len(got) != 1 || !got[0].Proxy || got[0].BootFile != "ipxe.efi" {
		t.Errorf("Probe() with the proxy alone = %+v", got)
	}
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", l.Other, "dnsmasq", "-k", "-C", "/dev/null", "-p", "0", "-i", "o0",
		"--bind-interfaces", "--dhcp-range=10.77.0.50,10.77.0.90,1h", "--user=root", "--pid-file=",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"))
	child.For(t, cmd)

	var got []OtherServer
	for range 3 { // dnsmasq needs a moment, and pings what it offers for three seconds
		if got = probe(); len(got) == 2 {
			break
		}
	}
	found := map[netip.Addr]bool{}
	for _, o := range got {
		found[o.Addr] = o.Proxy
	}
	if proxy, ok := found[netip.MustParseAddr("10.77.0.1")]; !ok || !proxy || len(found) != 2 || found[netip.MustParseAddr("10.77.0.2")] {
		t.Errorf("Probe() = %+v; want our proxy and dnsmasq", got)
	}
	hook, saved := script(t)
	// Not with a PXE class: udhcpc would take whichever offer is first, as no real
	// boot ROM does.
	if text, err := l.run(t, "udhcpc", "-i", "c0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", hook); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	mustContain(t, saved, "serverid=10.77.0.2")
	for _, e := range events() {
		if e.Addr.IsValid() || e.Client == System && e.Answer != dhcpv4.MessageTypeNone {
			t.Errorf("proxy event %+v; want no address, and silence to systems", e)
		}
	}
}

// A boot server request to port 4011 over a real socket.
func TestPort4011Socket(t *testing.T) {
	l := newLab(t)
	l.serve(t, Proxy)
	err := netlab.In(t, l.Other, func() error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: portPXE})
		if err != nil {
			return err
		}
		defer conn.Close()
		ask := packet(t, dhcpv4.MessageTypeRequest, append(asUEFI[:2:2], dhcpv4.WithClientIP(net.IP{10, 77, 0, 2}))...)
		if _, err := conn.WriteTo(ask.ToBytes(), &net.UDPAddr{IP: net.IP{10, 77, 0, 1}, Port: portPXE}); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 1500)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		got, err := dhcpv4.FromBytes(buf[:n])
		if err == nil && (got.MessageType() != dhcpv4.MessageTypeAck || got.BootFileName != "ipxe.efi") {
			err = fmt.Errorf("answer %s", got.Summary())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// perfdhcp of Kea: two hundred four-way exchanges a second, of which none is
// lost and no two get one address.
func TestPerfdhcp(t *testing.T) {
	l := newLab(t)
	l.serve(t, Full)
	out, err := netlab.Command(t, l.Other, "perfdhcp", "-4", "-r", "200", "-p", "3", "-R", "90", "-W", "1000000", "-l", "o0",
		"10.77.0.1").CombinedOutput()
	text := string(out)
	if err != nil || strings.Count(text, "drops: 0\n") != 2 || strings.Count(text, "non unique addresses: 0\n") != 2 {
		t.Errorf("perfdhcp: %v\n%s", err, text)
	}
}

// Bad datagrams of every kind; afterwards a good one is still answered.
func TestBadDatagrams(t *testing.T) {
	l := newLab(t)
	events := l.serve(t, Full)
	good := packet(t, dhcpv4.MessageTypeDiscover, asUEFI...).ToBytes()
	set := func(at int, v byte) []byte { b := bytes.Clone(good); b[at] = v; return b }
	opts := func(o ...byte) []byte { return append(bytes.Clone(good[:240]), o...) }
	err := netlab.In(t, l.Other, func() error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{10, 77, 0, 2}, Port: portClient})
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, b := range [][]byte{
			{},
			{1},
			good[:239], set(236, 0), set(0, 0), set(0, 255), set(2, 0), set(2, 255), set(3, 255),
			opts(), opts(53, 1), opts(53, 1, 1), opts(53, 0, 255), opts(53, 9, 1), opts(52, 1, 3, 53, 1, 1, 255),
			opts(53, 1, 1, 12, 0, 255), opts(53, 1, 1, 82, 3, 1, 200, 0, 255),
			opts(53, 1, 1, 93, 3, 0, 7, 0, 60, 9, 'P', 'X', 'E', 'C', 'l', 'i', 'e', 'n', 't', 255),
			opts(bytes.Repeat([]byte{0}, 60<<10)...), opts(bytes.Repeat([]byte{12, 255}, 2000)...),
		} {
			if _, err := conn.WriteTo(b, &net.UDPAddr{IP: net.IP{10, 77, 0, 1}, Port: portDHCP}); err != nil {
				return fmt.Errorf("%d bytes: %w", len(b), err)
			}
		}
		_, err = conn.WriteTo(good, &net.UDPAddr{IP: net.IP{10, 77, 0, 1}, Port: portDHCP})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		for _, e := range events() {
			if e.File == "ipxe.efi" && e.Answer == dhcpv4.MessageTypeOffer {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("no answer to a good request after bad ones: %+v", events())
}

// What keeps a server from starting is named with its remedy.
func TestListenNamesTheRemedy(t *testing.T) {
	l := newLab(t)
	l.serve(t, Proxy)
	for want, run := range map[string]func() error{
		"stop the other DHCP server": func() error { _, err := listen(t.Context(), "br0", portDHCP); return err },
		"there is no such interface": func() error { _, err := listen(t.Context(), "absent0", portDHCP); return err },
		"absent0":                    func() error { _, err := Probe(t.Context(), "absent0"); return err },
	} {
		if err := netlab.In(t, l.Server, run); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
}
