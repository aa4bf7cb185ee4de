package agent

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
)

// children knows which processes the agent started itself: those it waits
// for; all others are orphans that fell to PID 1 and are reaped.
type children struct {
	mu  sync.Mutex // held while one is started, so that none is reaped before it is known
	own map[int]bool
}

func newChildren() *children { return &children{own: map[int]bool{}} }

// run starts a program and waits for its end.
func (c *children) run(path string, argv []string, attr *os.ProcAttr) error {
	p, err := c.start(path, argv, attr)
	if err != nil {
		return err
	}
	return c.wait(p)
}

// start starts a program; wait must follow.
func (c *children) start(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	c.own[p.Pid] = true
	return p, nil
}

// wait waits for the end of a program that was started.
func (c *children) wait(p *os.Process) error {
	_, err := p.Wait()
	c.mu.Lock()
	delete(c.own, p.Pid)
	c.mu.Unlock()
	return err
}

// reap takes orphans until ctx is done.
func (c *children) reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			c.reapOnce("/proc")
		case <-ctx.Done():
			return
		}
	}
}

// reapOnce looks at every process instead of waiting for any: wait4(-1) would
// also take the children that run waits for.
func (c *children) reapOnce(proc string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	for _, file := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || c.own[pid] || !isZombieOf(file, os.Getpid()) {
			continue
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// isZombieOf reads "pid (comm) state ppid ..." (proc(5)); comm may hold
// anything, also parentheses.
func isZombieOf(file string, parent int) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	return len(f) > 1 && f[0] == "Z" && f[1] == strconv.Itoa(parent)
}

// killOthers ends every process but this and the one to spare. Threads of the
// kernel do not mind.
func killOthers(proc string, spare int) {
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && pid != os.Getpid() && pid != spare {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// signals makes Ctrl-Alt-Del, which the kernel sends as SIGINT, an orderly
// restart. At any moment of a flash that is safe: an unfinished disk does not
// boot, and the next network boot goes on.
func (a *Agent) signals(ctx context.Context) {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGINT, unix.SIGTERM)
	defer signal.Stop(got)
	for {
		select {
		case s := <-got:
			if s != unix.SIGINT {
				continue
			}
			a.note("start", "Ctrl-Alt-Del: restarting")
			a.queue.flush(ctx, time.Second)
			a.console.Drain(time.Second)
			a.log.Error("restart", "error", handoff.RebootNow())
		case <-ctx.Done():
			return
		}
	}
}
