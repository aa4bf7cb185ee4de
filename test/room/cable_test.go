package room

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/gild-dev/gild/internal/child"
)

// segment is an Ethernet of the test's own: a bridge with the server's address,
// and a cable to every process that has a network namespace to itself. What
// comes from different machines has different addresses there, as it has in a
// real room.
type segment struct {
	bridge netlink.Link
	cables int
}

const (
	segmentIface = "room0"
	segmentHost  = "10.99.0.1"
	segmentBits  = "/16"
)

// newSegment lays the bridge. It goes with the namespace of the tests.
func newSegment(t *testing.T) *segment {
	t.Helper()
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: segmentIface}}
	addr, err := netlink.ParseAddr(segmentHost + segmentBits)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkAdd(b), netlink.AddrAdd(b, addr), netlink.LinkSetUp(b)); err != nil {
		t.Fatalf("a bridge for the room: %v", err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(b) })
	return &segment{bridge: b}
}

// envCable has the addresses of a process at the end of a cable, with commas
// between them.
const envCable = "GILD_ROOM_CABLE"

// start starts a process of this binary at the end of a cable; without a
// segment it shares this namespace. Its standard input stays open until the
// writer is closed.
func (s *segment) start(t *testing.T, cmd *exec.Cmd, addrs ...string) io.WriteCloser {
	t.Helper()
	if s != nil {
		cmd.Env = append(cmd.Env, envCable+"="+strings.Join(addrs, ","))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.For(t, cmd)
	if s == nil {
		return stdin
	}
	s.cables++
	cable := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("cable%d", s.cables), MasterIndex: s.bridge.Attrs().Index},
		PeerName:  "eth0", PeerNamespace: netlink.NsPid(cmd.Process.Pid),
	}
	err = errors.Join(netlink.LinkAdd(cable), netlink.LinkSetUp(cable))
	if err == nil {
		_, err = stdin.Write([]byte{'\n'})
	}
	if err != nil {
		t.Fatalf("a cable to %s: %v", addrs[0], err)
	}
	return stdin
}

// plugIn waits for this process's cable and gives it its addresses.
func plugIn(addrs string) error {
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil {
		return fmt.Errorf("waiting for the cable: %w", err)
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	for a := range strings.SplitSeq(addrs, ",") {
		addr, err := netlink.ParseAddr(a + segmentBits)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(eth0, addr); err != nil {
			return fmt.Errorf("adding %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(eth0)
}

// Blocks of addresses of the segment, of 254 each. The upper half is leased.
const (
	probeBlock     = 1
	bystanderBlock = 2
	hostileBlock   = 10
	machineBlock   = 20
)

// numbered is the n-th address from a block on.
func numbered(block, n int) string {
	return net.IPv4(10, 99, byte(block+n/254), byte(1+n%254)).String()
}
