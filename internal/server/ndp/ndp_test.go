package ndp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/tier"
)

var machine = net.HardwareAddr{0x52, 0x54, 0, 0x67, 0x69, 0x6c}

func TestSolicitor(t *testing.T) {
	for text, ok := range map[string]bool{
		"fe80::5054:ff:fe67:696c": true,
		"fe80::5054:ff:ff67:696c": false, // not made of an Ethernet address
		"fe80::1":                 false,
		"fd00::5054:ff:fe67:696c": false, // not of the link
		"::":                      false,
		"10.77.0.9":               false,
	} {
		m, got := solicitor(net.ParseIP(text))
		if got != ok || ok && !bytes.Equal(m[:], machine) {
			t.Errorf("solicitor(%s) = %x, %v; want %v", text, m, got, ok)
		}
	}
}

func TestExpect(t *testing.T) {
	var s Server
	now := time.Now()
	if s.expects(mac(machine), now) {
		t.Error("expects() = true before Expect()")
	}
	s.Expect(machine, now)
	s.Expect(net.HardwareAddr{1, 2}, now) // is not Ethernet's
	if !s.expects(mac(machine), now.Add(patience)) || s.expects(mac(machine), now.Add(patience+1)) {
		t.Errorf("want it expected for %v, and not longer", patience)
	}
	for i := range 2 * mostExpected {
		s.Expect(net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}, now)
	}
	if n := len(s.expected); n != mostExpected {
		t.Errorf("%d machines are expected; want at most %d", n, mostExpected)
	}
	late := now.Add(patience + time.Second)
	s.Expect(machine, late)
	if n := len(s.expected); n != 1 || !s.expects(mac(machine), late) {
		t.Errorf("%d machines are expected after all others' time; want the new one", n)
	}
}

// TestForeignClient has rdisc6 of the ndisc6 tools solicit, from a host of its
// own, before and after its address is one of a machine that boots.
func TestForeignClient(t *testing.T) {
	tier.Root(t, "network namespaces need root")
	for _, tool := range []string{"ip", "rdisc6"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (iproute2, ndisc6)", tool)
		}
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("needs a kernel with IPv6")
	}
	// never unlocked: the thread, and with it the server's namespace, ends with the
	// test
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	client := fmt.Sprintf("gild-ndp-%d", os.Getpid())
	ip := func(args string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	ip("netns add " + client)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", client).Run() })
	ip("link add s0 type veth peer name c0 address " + machine.String() + " netns " + client)
	// Without the wait for duplicates that addresses begin with (accept_dad in
	// ip-sysctl.rst).
	zero := filepath.Join(t.TempDir(), "zero")
	if err := os.WriteFile(zero, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	ip("netns exec " + client + " cp " + zero + " /proc/sys/net/ipv6/conf/c0/accept_dad")
	ip("-n " + client + " link set c0 up")
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/s0/accept_dad", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	ip("link set s0 up")

	conn, err := Listen(t.Context(), "s0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var s Server
	go func() { ended <- s.Serve(ctx, conn) }()
	discover := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", client, "rdisc6", "-1", "-r", "2", "-w", "700", "c0").CombinedOutput()
		return string(out), err
	}
	if out, err := discover(); err == nil {
		t.Errorf("rdisc6 got an answer, and nobody boots:\n%s", out)
	}
	s.Expect(machine, time.Now())
	out, err := discover()
	if err != nil {
		t.Errorf("rdisc6: %v\n%s", err, out)
	}
	for _, want := range []string{
		"Router lifetime           :            0", "Stateful address conf.    :           No",
		"Stateful other conf.      :           No",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("rdisc6 does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Prefix") {
		t.Errorf("rdisc6 was given a prefix:\n%s", out)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v; want nil", err)
	}
}
