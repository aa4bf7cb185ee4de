// Package child starts processes that do not outlive the one that started them,
// however that ends.
//
// The kernel kills a child as soon as its parent is killed, panics or ends
// (PR_SET_PDEATHSIG of prctl(2)), a shell that waits for that kills its process
// group, and [Process.Kill] does both. What is no process, such as a network
// namespace, goes by [AtEnd].
package child

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Process is a child that was started.
type Process struct {
	Pid int

	ended chan struct{}
	wait  func() error
}

// Start starts a command. The given functions are called first, on the child's
// own operating-system thread: what they change of it, such as its namespaces,
// the child has too, and no other goroutine.
//
// A thread's end counts as the parent's for prctl(2), so this one is kept until
// the child has ended. The child leads a process group, which ends with it.
func Start(cmd *exec.Cmd, first ...func() error) (*Process, error) {
	if err := prepare(cmd); err != nil {
		return nil, err
	}
	p := &Process{ended: make(chan struct{}), wait: sync.OnceValue(cmd.Wait)}
	started := make(chan error, 1)
	go func() {
		// Never unlocked: a thread that was changed must not serve other goroutines.
		runtime.LockOSThread()
		for _, f := range first {
			if err := f(); err != nil {
				started <- err
				return
			}
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.Pid = cmd.Process.Pid
		tell("starts", p.Pid)
		started <- nil
		// Who reads its output, or waits for it, does so still: it is not collected
		// here.
		for unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		_ = killGroup(p.Pid) // mostly there is nobody else
		tell("ends", p.Pid)  // not collected yet: its number is no other's
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// For is [Start] for a test, whose end kills the child.
func For(t testing.TB, cmd *exec.Cmd, first ...func() error) *Process {
	t.Helper()
	p, err := Start(cmd, first...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// Run starts a command from the calling thread, whose namespaces it has, and
// waits for its end. The end of its context kills its process group.
func Run(cmd *exec.Cmd) error {
	if err := prepare(cmd); err != nil {
		return err
	}
	if cmd.Cancel != nil {
		cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

func prepare(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	// What this process inherited, as the lock of flock(1), would be held by its
	// children as well.
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("keep open files from a child: %w", err)
	}
	return nil
}

// Done is closed when the process has ended; what it wrote may still be on its
// way.
func (p *Process) Done() <-chan struct{} { return p.ended }

// Wait is [exec.Cmd.Wait], and may be called more than once.
func (p *Process) Wait() error { return p.wait() }

// Signal sends a signal to the process alone; one that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := syscall.Kill(p.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Kill kills the process and all of its group, and returns when the process is
// gone. It may be called more than once.
func (p *Process) Kill() {
	select {
	case <-p.ended:
	default:
		_ = killGroup(p.Pid) // it may end meanwhile
		<-p.ended
	}
	_ = p.Wait() // how it ended is known
}

// groups is a shell that is told which process groups there are, and kills them
// once this process is gone. The kernel forgets whom it is to kill when a
// program changes its capabilities, as dnsmasq does.
var groups = sync.OnceValue(func() io.Writer {
	const script = `
		groups=
		while read -r how group; do
			left=
			for g in $groups; do [ "$g" = "$group" ] || left="$left $g"; done
			groups=$left
			[ "$how" = ends ] || groups="$groups $group"
		done
		for g in $groups; do kill -9 "-$g"; done`
	cmd := exec.Command("sh", "-c", script)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = startLasting(cmd)
	}
	if err != nil {
		return io.Discard // the kernel kills nearly all
	}
	return in
})

// startLasting starts what outlives this process.
func startLasting(cmd *exec.Cmd) error {
	if err := prepare(cmd); err != nil {
		return err
	}
	cmd.SysProcAttr.Pdeathsig = 0
	return cmd.Start()
}

// telling keeps what the shell is told in lines.
var telling sync.Mutex

func tell(how string, group int) {
	telling.Lock()
	defer telling.Unlock()
	_, _ = fmt.Fprintln(groups(), how, group)
}

func killGroup(leader int) error { return syscall.Kill(-leader, syscall.SIGKILL) }

// AtEnd has a program run when end is called, or else as soon as this process
// is gone. The error is the program's. end may be called more than once.
func AtEnd(name string, args ...string) (end func() error, err error) {
	// It waits for the end of its standard input, which the kernel closes with this
	// process.
	cmd := exec.Command("sh", append([]string{"-c", `cat && exec "$@"`, "at-end", name}, args...)...) //nolint:noctx // it outlives every context
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := startLasting(cmd); err != nil {
		return nil, fmt.Errorf("start what is to run in the end: %w", err)
	}
	return sync.OnceValue(func() error {
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}), nil
}
