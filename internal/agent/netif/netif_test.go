package netif

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/tier"
)

// inside says that this process is the child that TestNetwork started in a
// network namespace of its own.
const inside = "GILD_TEST_IN_NETNS"

// TestNetwork runs the tests below, which need links of their own, in a child
// process with its own network namespace.
func TestNetwork(t *testing.T) {
	tier.Root(t, "a network namespace needs root")
	for _, tool := range []string{"dnsmasq", "ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInside", "-test.v", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func run(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// spawn starts a process that ends with the test.
func spawn(t *testing.T, attr *syscall.SysProcAttr, line ...string) int {
	t.Helper()
	cmd := exec.Command(line[0], line[1:]...)
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	return child.For(t, cmd).Pid
}

// peer makes the link name here, whose other end is "far" in a namespace of
// its own, and returns how to run something there.
func peer(t *testing.T, name string) (there string) {
	t.Helper()
	pid := spawn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, "sleep", "60")
	run(t, fmt.Sprintf("ip link add %s type veth peer name far netns %d", name, pid))
	there = fmt.Sprintf("nsenter -t %d -n ", pid)
	run(t, there+"ip link set far up")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	return there
}

func dnsmasq(t *testing.T, there string, lease string) {
	t.Helper()
	run(t, there+"ip addr add 10.7.0.1/24 dev far")
	line := there + "dnsmasq --keep-in-foreground --conf-file=/dev/null --interface=far --bind-interfaces --port=0 --dhcp-authoritative " +
		"--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases") + " --dhcp-range=10.7.0.20,10.7.0.30," + lease +
		" --dhcp-option=3,10.7.0.1 --dhcp-option=6,10.7.0.1 --dhcp-option=15,lan.example --dhcp-option=26,1400" +
		" --dhcp-option=121,192.168.9.0/24,10.7.0.2,0.0.0.0/0,10.7.0.1"
	spawn(t, &syscall.SysProcAttr{}, strings.Fields(line)...)
}

func skipOutside(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("run by TestNetwork")
	}
}

func TestInsideFirstThatReachesWins(t *testing.T) {
	skipOutside(t)
	peer(t, "deaf0") // a cable to a network without DHCP
	dnsmasq(t, peer(t, "card0"), "1h")
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	asked := 0
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second, ResolvConf: resolv, Reach: func(ctx context.Context) error {
		if asked++; asked == 1 {
			return errors.New("not yet")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Link != "card0" || asked != 2 || c.Lease.MTU != 1400 {
		t.Errorf("Up() = %s, asked %d, MTU %d; want card0, 2, 1400", c.Link, asked, c.Lease.MTU)
	}
	for _, tt := range []struct{ cmd, want string }{
		{"ip -4 addr show dev card0", "inet 10.7.0."},
		{"ip link show dev card0", "mtu 1400"},
		{"ip route", "default via 10.7.0.1 dev card0"},
		{"ip route", "192.168.9.0/24 via 10.7.0.2 dev card0"},
		{"cat " + resolv, "nameserver 10.7.0.1\nsearch lan.example\n"},
	} {
		words := strings.Fields(tt.cmd)
		if out, err := exec.Command(words[0], words[1:]...).Output(); err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s = %q, %v; want %q in it", tt.cmd, out, err, tt.want)
		}
	}
	if err := Down(); err != nil {
		t.Errorf("Down() = %v", err)
	}
	if out, _ := exec.Command("ip", "-4", "addr", "show", "up").Output(); strings.Contains(string(out), "card0") {
		t.Errorf("after Down() there still is: %s", out)
	}
}

func TestInsideRenewal(t *testing.T) {
	skipOutside(t)
	dnsmasq(t, peer(t, "card0"), "2m")
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	before := c.got
	if err := c.renew(t.Context()); err != nil || !c.got.After(before) {
		t.Errorf("renew() = %v; want a newer lease than that of %v", err, before)
	}
}

// A link is given away with the lease that it has in the end, not in the midst
// of a renewal.
func TestInsideHandedAfterTheLastRenewal(t *testing.T) {
	skipOutside(t)
	dnsmasq(t, peer(t, "card0"), "2m")
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.got = time.Now().Add(-c.Lease.Renew) // it is due
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Keep(ctx)
	}()
	for c.kept.TryLock() { // it has not begun
		c.kept.Unlock()
		runtime.Gosched()
	}
	given := make(chan Handed)
	go func() {
		time.AfterFunc(10*time.Millisecond, cancel)
		given <- c.Handed()
	}()
	h := <-given
	<-ended
	if got := h.Lease.Addr; got != c.Lease.Addr || h.Lease.Renew != c.Lease.Renew {
		t.Errorf("Handed() = %+v; want the lease %+v", h.Lease, c.Lease)
	}
}

func TestInsideErrorNamesEachLink(t *testing.T) {
	skipOutside(t)
	peer(t, "deaf0")
	run(t, "ip link add loose0 type veth peer name loose1") // the other end stays down
	run(t, "ip link set loose1 addrgenmode none")
	_, err := Up(t.Context(), Config{Patience: 1500 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "deaf0: no DHCP server answered") {
		t.Errorf("Up() = %v; want what is wrong with deaf0", err)
	}
	run(t, "ip link del loose0")
	run(t, "ip link del deaf0")
	if _, err := Up(t.Context(), Config{Patience: 200 * time.Millisecond}); err == nil ||
		!strings.Contains(err.Error(), "no wired network card") {
		t.Errorf("Up() without links = %v; want that there is no card", err)
	}
}

func TestNamesLinks(t *testing.T) {
	for _, tt := range []struct {
		path, text string
		want       bool
	}{
		{"etc/udev/rules.d/70-persistent-net.rules", `SUBSYSTEM=="net", ATTR{address}=="52:54:00:12:34:56", NAME="lan0"`, true},
		{"usr/lib/udev/rules.d/71-biosdevname.rules", `PROGRAM="/sbin/biosdevname -i %k", NAME:="%c"`, true},
		{"etc/udev/rules.d/80-asks.rules", `NAME=="eth0", ENV{X}="1"`, false},
		{"etc/udev/rules.d/90-comment.rules", "# NAME=\"lan0\"\nKERNEL==\"sda\", SYMLINK+=\"disk\"\n", false},
		{"usr/lib/udev/rules.d/80-net-setup-link.rules", `NAME=="", ENV{ID_NET_NAME}!="", NAME="$env{ID_NET_NAME}"`, false},
	} {
		root := t.TempDir()
		path := filepath.Join(root, tt.path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(tt.text), 0o644)); err != nil {
			t.Fatal(err)
		}
		if got := namesLinks(root); got != tt.want {
			t.Errorf("%s, %s: names links %v; want %v", tt.path, tt.text, got, tt.want)
		}
	}
}

// looker looks after the link as Tend does, by a clock of the test's own.
type looker struct {
	tended
	now  time.Time
	told int // moves since the last look
}

func newLooker(c *Conn, servers ...string) *looker {
	l := &looker{now: time.Now()}
	l.tended = tended{Handed: c.Handed(), moved: func() { l.told++ }, log: slog.New(slog.DiscardHandler), since: l.now}
	for _, s := range servers {
		l.servers = append(l.servers, netip.MustParseAddr(s))
	}
	return l
}

// after looks once more, and reports whether a move was told.
func (l *looker) after(wait time.Duration) (moved bool) {
	l.now, l.told = l.now.Add(wait), 0
	l.look(l.now)
	return l.told > 0
}

// has reports whether a link is up and has an address.
func has(t *testing.T, link, addr string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-4", "addr", "show", "up", "dev", link).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), "inet "+addr)
}

// The system that a link was given to may change everything about it. What it
// leaves unusable gets its lease back, and each change is told.
func TestInsideTend(t *testing.T) {
	skipOutside(t)
	dnsmasq(t, peer(t, "card0"), "1h")
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	lease, root := c.Lease.Addr.String(), t.TempDir()
	l := newLooker(c, "192.168.9.7", "10.7.0.1")
	// What udev does with a link that is up, which it cannot rename.
	run(t, "ip link property add dev card0 altname card1")
	record := "I:1\nE:ID_BUS=pci\nE:ID_NET_NAME=card1\nE:ID_NET_DRIVER=veth\nG:systemd\n"
	records := filepath.Join(root, "run/udev/data")
	if err := os.MkdirAll(records, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(records, fmt.Sprintf("n%d", c.Handed().Index)), []byte(record), 0o644); err != nil {
		t.Fatal(err)
	}
	Name(t.Context(), c.Handed(), root, slog.New(slog.DiscardHandler))
	if !l.after(tendEvery) || !has(t, "card1", lease) {
		t.Error("the link that udev named was not found with its lease")
	}
	// restored waits for the moment at which what is unusable gets the lease back.
	restored := func(what string) {
		t.Helper()
		if !l.after(tendEvery) {
			t.Errorf("%s: no move was told", what)
		}
		if l.after(tendGrace - 2*tendEvery); has(t, "card1", lease) {
			t.Errorf("%s: the system was given no time", what)
		}
		if l.after(2 * tendEvery); !has(t, "card1", lease) {
			t.Errorf("%s: the lease is not there again", what)
		}
		if !l.after(tendEvery) {
			t.Errorf("%s: the return of the lease was not told", what)
		}
	}
	run(t, "ip link set card1 down")
	restored("taken down")
	run(t, "ip addr flush dev card1")
	run(t, "ip addr add 10.7.0.99/24 dev card1")
	if !l.after(tendEvery) || l.after(tendEvery) {
		t.Error("another address was not told once")
	}
	if l.after(2 * tendGrace); has(t, "card1", lease) {
		t.Error("a link with an address of the system's own has the lease too")
	}
	run(t, "ip addr flush dev card1")
	restored("without an address")

	run(t, "ip link add bridge0 type bridge")
	run(t, "ip link set card1 master bridge0")
	run(t, "ip addr flush dev card1")
	run(t, "ip link set bridge0 up")
	l.after(tendEvery)
	if l.after(2 * tendGrace); has(t, "card1", lease) {
		t.Error("a port of a bridge got the lease back")
	}
	run(t, "ip addr add 10.7.0.98/24 dev bridge0")
	if !l.after(tendEvery) {
		t.Error("the address of the bridge was not told")
	}
}

// A link that goes down and up keeps its address, if it was set up so, and
// loses its routes: a server behind a gateway is out of reach then.
func TestInsideTendRoutes(t *testing.T) {
	skipOutside(t)
	dnsmasq(t, peer(t, "card0"), "1h")
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l := newLooker(c, "203.0.113.7")
	l.after(tendEvery)
	run(t, "ip route del default")
	run(t, "ip link set card0 down")
	run(t, "ip link set card0 up")
	way := func() string {
		out, _ := exec.CommandContext(t.Context(), "ip", "route", "get", "203.0.113.7").CombinedOutput() // an error: none
		return string(out)
	}
	const gateway = "via 10.7.0.1 dev card0"
	if l.after(tendEvery); strings.Contains(way(), gateway) {
		t.Fatal("the way to the server is still there: nothing is tried")
	}
	if l.after(tendGrace); !strings.Contains(way(), gateway) {
		t.Errorf("the way to the server is %q; want the gateway of the lease", way())
	}
}

// Tend begins by telling what the link has, and continues until it is to end.
func TestInsideTendLooks(t *testing.T) {
	skipOutside(t)
	dnsmasq(t, peer(t, "card0"), "1h")
	c, err := Up(t.Context(), Config{Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	moved, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		Tend(ctx, c.Handed(), nil, func() { moved <- struct{}{} }, slog.New(slog.DiscardHandler))
	}()
	<-moved
	run(t, "ip addr add 10.7.0.99/24 dev card0")
	<-moved
	cancel()
	<-ended
}
