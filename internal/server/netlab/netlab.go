// Package netlab is a small network of namespaces for tests: a server with a
// client beside another server's host.
package netlab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/tier"
)

// Lab are the namespaces. The bridge br0 is in the server's, which has
// 10.77.0.1/24 there; the client's interface is c0, the other host's o0 with
// 10.77.0.2/24.
type Lab struct{ Server, Client, Other string }

// New makes a network that goes with the test. Without root the test is
// skipped.
func New(t testing.TB) Lab {
	t.Helper()
	tier.Root(t, "network namespaces need root")
	base := fmt.Sprintf("gt-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	l := Lab{base + "-s", base + "-c", base + "-o"}
	for _, ns := range []string{l.Server, l.Client, l.Other} {
		IP(t, "netns add "+ns)
		remove, err := child.AtEnd("ip", "netns", "delete", ns)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = remove() })
		IP(t, "-n "+ns+" link set lo up")
	}
	IP(t, "-n "+l.Server+" link add br0 type bridge forward_delay 0")
	for ns, nic := range map[string]string{l.Client: "c0", l.Other: "o0"} {
		IP(t, "-n "+l.Server+" link add p-"+nic+" type veth peer name "+nic+" netns "+ns)
		IP(t, "-n "+l.Server+" link set p-"+nic+" master br0 up")
		IP(t, "-n "+ns+" link set "+nic+" up")
	}
	IP(t, "-n "+l.Server+" addr add 10.77.0.1/24 dev br0")
	IP(t, "-n "+l.Server+" link set br0 up")
	IP(t, "-n "+l.Other+" addr add 10.77.0.2/24 dev o0")
	return l
}

// IP runs the program ip with arguments that are separated by spaces.
func IP(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// In runs f on a thread of its own in a namespace; sockets that f opens stay
// there.
func In(t testing.TB, ns string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := os.Open("/run/netns/" + ns)
		if err == nil {
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
			fd.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Command is a program in a namespace, not started yet. Without it the test is
// skipped.
func Command(t testing.TB, ns, name string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	return exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", ns, name}, args...)...)
}
