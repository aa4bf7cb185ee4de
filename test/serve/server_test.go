// Package serve tests `gild serve` as a process in a network of its own.
package serve

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/netlab"
	"github.com/gild-dev/gild/test/lab/host"
)

// server is one that runs on br0 of a lab.
type server struct {
	t             *testing.T
	program, data string
	cmd           *exec.Cmd

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed with the next line
	read  int           // lines that says has looked at
}

// start runs a server and returns when it is ready.
func start(t *testing.T, l netlab.Lab, args ...string) *server {
	t.Helper()
	return startAt(t, l, filepath.Join(t.TempDir(), "data"), args...)
}

// startAt is start with a data directory.
func startAt(t *testing.T, l netlab.Lab, data string, args ...string) *server {
	t.Helper()
	return startBy(t, l, []string{host.Program(t)}, data, args...)
}

// startBy is startAt with the program as the last word of a command that
// becomes it.
func startBy(t *testing.T, l netlab.Lab, command []string, data string, args ...string) *server {
	t.Helper()
	s := &server{t: t, program: command[len(command)-1], data: data, more: make(chan struct{})}
	args = slices.Concat(command[1:], []string{"--data", s.data, "serve", "--interface", "br0"}, args)
	s.cmd = netlab.Command(t, l.Server, command[0], args...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	out, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := child.For(t, s.cmd)
	ended := make(chan error, 1)
	go func() {
		s.listen(out)
		ended <- p.Wait()
	}()
	t.Cleanup(func() {
		// The test's context is over, and the server has been told so.
		if err := <-ended; err != nil && s.cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", strings.Join(s.lines, "\n"))
		}
	})
	s.says("ready: ")
	return s
}

// listen takes what the server says until it has ended.
func (s *server) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

// says waits for a line that holds a text, after the last one that was waited
// for.
func (s *server) says(text string) {
	s.t.Helper()
	for deadline := time.After(2 * time.Minute); ; {
		s.mu.Lock()
		more := s.more
		i := slices.IndexFunc(s.lines[s.read:], func(l string) bool { return strings.Contains(l, text) })
		if i >= 0 {
			s.read += i + 1
		}
		s.mu.Unlock()
		if i >= 0 {
			return
		}
		select {
		case <-more:
		case <-deadline:
			s.t.Fatalf("the server did not say %q", text)
		}
	}
}

// gild runs a command on the server's data, as its user.
func (s *server) gild(args ...string) string {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), s.program, append([]string{"--data", s.data}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("gild %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eventually runs a command until it says a text.
func (s *server) eventually(text string, args ...string) {
	s.t.Helper()
	out := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if out = s.gild(args...); strings.Contains(out, text) {
			return
		}
	}
	s.t.Errorf("gild %s does not say %q:\n%s", strings.Join(args, " "), text, out)
}

// lease takes an address as iPXE of a machine on c0 does, and returns the
// server's last word.
func lease(t *testing.T, l netlab.Lab, mac string) *dhcpv4.DHCPv4 {
	t.Helper()
	return leaseOn(t, l, "c0", mac)
}

// leaseOn is lease on an interface of the machines' namespace.
func leaseOn(t *testing.T, l netlab.Lab, nic, mac string) (ack *dhcpv4.DHCPv4) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	err = netlab.In(t, l.Client, func() error {
		conn, err := nclient4.NewRawUDPConn(nic, 68)
		if err != nil {
			return err
		}
		c, err := nclient4.NewWithConn(conn, hw, nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(3))
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		defer c.Close()
		got, err := c.Request(t.Context(), dhcpv4.WithOption(dhcpv4.OptUserClass("iPXE")))
		if err != nil {
			return err
		}
		ack = got.ACK
		return nil
	})
	if err != nil {
		t.Fatalf("no lease for %s: %v", mac, err)
	}
	return ack
}

// fetch asks the server for a path from the machines' namespace.
func fetch(t *testing.T, l netlab.Lab, url string) string {
	t.Helper()
	out, err := netlab.Command(t, l.Client, "curl", "-sS", "--max-time", "30", url).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", url, err, out)
	}
	return string(out)
}

func within(t *testing.T, network string, a net.IP) {
	t.Helper()
	addr, _ := netip.AddrFromSlice(a.To4())
	if !netip.MustParsePrefix(network).Contains(addr) {
		t.Errorf("%v is not in %s", a, network)
	}
}
