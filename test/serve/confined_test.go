package serve

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/server/netlab"
)

// A running server has the capabilities that it needs on each of its threads
// and no others, gains none, and is no open book. With them it serves an
// interface that is made anew.
func TestConfined(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	s := start(t, l, "--dhcp", "server")
	confined(t, s, "0000000000002400")
	unreadable(t, s.cmd.Process.Pid)

	netlab.IP(t, "-n "+l.Server+" link del br0")
	s.says("br0 is gone")
	netlab.IP(t, "-n "+l.Server+" link add br0 type bridge forward_delay 0")
	netlab.IP(t, "-n "+l.Server+" link set p-c0 master br0")
	netlab.IP(t, "-n "+l.Server+" link set br0 up")
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.0.1/24 dev br0")
	s.says("DHCP is heard again")
	ack := lease(t, l, "52:54:00:77:00:01")
	within(t, "10.77.0.0/24", ack.YourIPAddr)
	netlab.IP(t, "-n "+l.Client+" addr add 10.77.0.3/24 dev c0")
	if script := fetch(t, l, "http://10.77.0.1:8080/machine.ipxe?mac=52:54:00:77:00:01"); !strings.HasPrefix(script, "#!ipxe") {
		t.Errorf("the script is %.200q", script)
	}
	confined(t, s, "0000000000002400") // its new threads too
}

// Root may serve from another user's folder, which takes a capability of
// root's.
func TestConfinedInAnotherUsersFolder(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	home := filepath.Join(t.TempDir(), "home")
	data := filepath.Join(home, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{home, data} {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := startAt(t, l, data, "--dhcp", "off")
	confined(t, s, "0000000000002402")
	s.gild("machine", "add", "a", "--mac", "52:54:00:77:00:02")
	if out := s.gild("token", "new"); !strings.Contains(out, "gild-") {
		t.Errorf("token new: %s", out)
	}
}

// confined looks at every thread.
func confined(t *testing.T, s *server, want string) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	if err != nil || len(threads) < 3 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	looked := 0
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		looked++
		for field, want := range map[string]string{
			"CapEff": want, "CapPrm": want, "CapBnd": want, "CapInh": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
		} {
			if !strings.Contains(string(status), "\n"+field+":\t"+want+"\n") {
				t.Errorf("%s: want %s %s in\n%s", thread, field, want, status)
			}
		}
	}
	if looked == 0 {
		t.Error("no thread could be looked at")
	}
}

// unreadable looks as the same user without the capabilities to look into
// everything.
func unreadable(t *testing.T, pid int) {
	t.Helper()
	look := func(pid int) error {
		const without = "-sys_ptrace,-sys_admin,-perfmon"
		return exec.CommandContext(t.Context(), "setpriv", "--bounding-set="+without, "--inh-caps="+without,
			"cat", fmt.Sprintf("/proc/%d/environ", pid)).Run()
	}
	// What the server would be without its care: a process with as few capabilities
	// as the one that looks.
	open := exec.CommandContext(t.Context(), "setpriv", "--bounding-set=-all", "--inh-caps=-all", "cat")
	in, err := open.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := open.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = open.Wait() }()
	if _, err := in.Write([]byte{'.'}); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has become what it is to be
		t.Fatal(err)
	}
	if err := look(open.Process.Pid); err != nil {
		t.Fatalf("no process can be looked into: %v", err)
	}
	if look(pid) == nil {
		t.Error("another process of the same user reads the server's environment")
	}
}
