// Package proc holds the processes of a PID 1.
package proc

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Children knows which processes the agent started itself: those it waits
// for; all others are orphans that fell to PID 1 and are reaped. Safe for
// concurrent use.
type Children struct {
	mu  sync.Mutex // held while one is started, so that none is reaped before it is known
	own map[int]bool
}

// NewChildren knows of none yet.
func NewChildren() *Children { return &Children{own: map[int]bool{}} }

// Run starts a program and waits for its end.
func (c *Children) Run(path string, argv []string, attr *os.ProcAttr) error {
	p, err := c.Start(path, argv, attr)
	if err != nil {
		return err
	}
	return c.Wait(p)
}

// Start starts a program; Wait must follow.
func (c *Children) Start(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", path, err)
	}
	c.own[p.Pid] = true
	return p, nil
}

// Wait waits for the end of a program that was started.
func (c *Children) Wait(p *os.Process) error {
	_, err := p.Wait()
	c.mu.Lock()
	delete(c.own, p.Pid)
	c.mu.Unlock()
	return err
}

// Reap takes orphans until ctx is done.
func (c *Children) Reap(ctx context.Context) {
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
// also take the children that Run waits for.
func (c *Children) reapOnce(proc string) {
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

// KillOthers ends every process but this one and the one to spare. Threads of
// the kernel do not mind.
func KillOthers(proc string, spare int) {
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && pid != os.Getpid() && pid != spare {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
