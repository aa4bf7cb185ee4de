package room

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/test/lab/host"
)

// server is a `gild serve` as a process of its own.
type server struct {
	program, data string
	iface, host   string
	more          []string // flags beside
	files         int      // that it may have open; 0: as many as this process
	first         bool     // it goes before others on the processors, which a real one has to itself
	said          *os.File

	cmd  *exec.Cmd
	life *child.Process // cmd's
	peak int64          // bytes resident at most, of all its lives
	cpu  time.Duration  // of all its lives
}

const (
	bootPort     = 8080
	operatorPort = 8081
)

// newServer makes one that is not started.
func newServer(t *testing.T, iface, at string, more ...string) *server {
	t.Helper()
	said, err := os.Create(filepath.Join(t.ArtifactDir(), "server-"+at+".log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{program: host.Program(t), data: filepath.Join(t.TempDir(), "data"), iface: iface, host: at, more: more, said: said}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("what the server at %s complained of:\n%s", at, complaints(said.Name()))
		}
		said.Close()
	})
	return s
}

func tail(path string) string {
	p, _ := os.ReadFile(path)
	return string(p[max(0, len(p)-3000):])
}

// complaints are the last lines of a server's log that tell of more than each
// machine's way, which would bury what the test has found.
func complaints(path string) string {
	p, _ := os.ReadFile(path)
	lines := slices.DeleteFunc(strings.Split(string(p), "\n"), func(line string) bool { return strings.Contains(line, " level=INFO ") })
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

func (s *server) base() string { return "http://" + net.JoinHostPort(s.host, strconv.Itoa(bootPort)) }

func (s *server) operatorAddr() string {
	// Loopback only, so a second server needs another port.
	port := operatorPort
	if s.host != "127.0.0.1" {
		ip := net.ParseIP(s.host).To4()
		port += int(ip[3])
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

func (s *server) operator() *operatorclient.Client {
	return &operatorclient.Client{BaseURL: local.Operator, HTTP: local.Client{Dir: s.data}.HTTP()}
}

// gild runs a command on the server's data.
func (s *server) gild(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.program, append([]string{"--data", s.data}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("gild %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// start returns when the server answers machines.
func (s *server) start(ctx context.Context) error {
	args := append([]string{
		"--data", s.data, "serve", "--interface", s.iface, "--dhcp", "off",
		"--port", strconv.Itoa(bootPort), "--operator", s.operatorAddr(),
	}, s.more...)
	s.cmd = exec.Command(s.program, args...)
	if s.files > 0 {
		s.cmd = exec.Command("prlimit", append([]string{fmt.Sprintf("--nofile=%d", s.files), s.program}, args...)...)
	}
	if s.first {
		s.cmd = exec.Command("nice", append([]string{"-n", "-10", s.program}, args...)...)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	var err error
	if s.life, err = child.Start(s.cmd); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := get(ctx, s.base()+"/healthz"); err == nil {
			return nil
		}
		if syscall.Kill(s.cmd.Process.Pid, 0) != nil {
			break
		}
	}
	return errors.New("the server does not start:\n" + tail(s.said.Name()))
}

// kill ends the server as a crash does, and notes what it used.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	s.peak = max(s.peak, resident(s.cmd.Process.Pid))
	s.life.Kill()
	s.cpu += s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	s.cmd = nil
}

// resident is VmHWM of proc(5), bytes. The kernel's count for a waited child
// would include the time before exec.
func resident(pid int) int64 {
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(p, []byte("VmHWM:"))
	f := bytes.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(string(f[0]), 10, 64)
	return kib << 10
}
