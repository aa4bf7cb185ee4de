package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/child"
)

// greetingWait bounds QEMU's own start, which takes well under a second on an
// idle host.
const greetingWait = 60 * time.Second

// quitWait is how long Close lets QEMU flush its disk files before it is
// killed.
const quitWait = 10 * time.Second

// Machine is one running QEMU.
type Machine struct {
	Console *Console
	Monitor *Monitor

	process *child.Process
	stderr  *tail
	dir     string // scratch files, removed at the end
	log     io.Closer
	stop    func() bool // ends the watch on the context

	closing sync.Once
	killed  bool
	mu      sync.Mutex // guards killed
}

// Start runs a machine and returns when QEMU answers, before the guest has done
// anything of note. The end of ctx cuts its power. The caller must Close it.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	m, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start virtual machine: %w", err)
	}
	return m, nil
}

func start(ctx context.Context, cfg Config) (_ *Machine, err error) {
	binary := cfg.Binary
	if binary == "" {
		binary = "qemu-system-x86_64"
	}
	if binary, err = exec.LookPath(binary); err != nil {
		return nil, fmt.Errorf("%w: on Debian, apt install qemu-system-x86", err)
	}
	m := &Machine{stderr: &tail{limit: 4096}}
	if m.dir, err = os.MkdirTemp("", "gild-vm-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = m.Close()
		}
	}()

	fw, err := cfg.Firmware.prepare(ovmf(), cfg.Vars, m.dir)
	if err != nil {
		return nil, err
	}
	args, err := cfg.args(fw)
	if err != nil {
		return nil, err
	}
	for _, d := range cfg.Disks {
		if d.WriteLog == "" {
			continue
		}
		// QEMU opens it, and does not empty it: an old log's head would count entries
		// that are not there.
		if err := os.WriteFile(d.WriteLog, nil, 0o644); err != nil {
			return nil, err
		}
	}
	var logs []io.Writer
	if cfg.SerialLog != "" {
		file, err := os.Create(cfg.SerialLog)
		if err != nil {
			return nil, err
		}
		m.log = file
		logs = append(logs, file)
	}

	monitorHere, monitorThere, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer monitorThere.Close()
	serialHere, serialThere, err := socketPair()
	if err != nil {
		monitorHere.Close()
		return nil, err
	}
	defer serialThere.Close()

	cmd := exec.Command(binary, args...) //nolint:noctx // its end is Machine.Close or the context's end, below
	cmd.Stderr = m.stderr
	cmd.ExtraFiles = []*os.File{monitorThere, serialThere}
	m.process, err = child.Start(cmd, func() error { return enterNamespace(cfg.Namespace) }, cfg.findTaps)
	if err != nil {
		monitorHere.Close()
		serialHere.Close()
		return nil, err
	}
	m.stop = context.AfterFunc(ctx, m.Kill)
	m.Console = newConsole(serialHere, cfg.Serial, logs...)

	greeting, cancel := context.WithTimeout(ctx, greetingWait)
	defer cancel()
	// QEMU holds copies of its ends now; while ours stay open its death would not
	// end our reads.
	monitorThere.Close()
	serialThere.Close()
	if m.Monitor, err = newMonitor(greeting, monitorHere); err != nil {
		monitorHere.Close()
		m.Kill()
		return nil, m.explain(err)
	}
	return m, nil
}

// enterNamespace moves the calling thread into a network namespace made by "ip
// netns add".
func enterNamespace(name string) error {
	if name == "" {
		return nil
	}
	file, err := os.Open(filepath.Join("/run/netns", name))
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}

// findTaps looks for the taps in the calling thread's network namespace. QEMU
// would make a missing one itself, with nothing at its other end: a machine
// that then hears no DHCP server says nothing of the reason.
func (c Config) findTaps() error {
	for _, n := range c.NICs {
		if n.Tap == "" {
			continue
		}
		if _, err := net.InterfaceByName(n.Tap); err != nil {
			return fmt.Errorf("tap %s: %w: make it first, in network namespace %q", n.Tap, err, c.Namespace)
		}
	}
	return nil
}

// Wait returns when QEMU has ended: nil after a guest's power-off, Quit or
// Kill, else why it failed.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.process.Done():
	case <-ctx.Done():
		return fmt.Errorf("wait for the machine's end: %w", context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.process.Wait(); err != nil && !m.killed {
		return m.explain(err)
	}
	return nil
}

// explain adds what QEMU said, which names the wrong option or the missing
// file.
func (m *Machine) explain(err error) error {
	if said := strings.TrimSpace(m.stderr.String()); said != "" {
		return fmt.Errorf("%w: qemu said: %s", err, said)
	}
	return err
}

// Pid returns QEMU's process id, for measurements.
func (m *Machine) Pid() int { return m.process.Pid }

// Kill cuts the power: QEMU ends at once, and nothing is flushed. It returns
// when the process is gone.
func (m *Machine) Kill() {
	if m.process == nil {
		return
	}
	m.mu.Lock()
	select {
	case <-m.process.Done():
	default:
		m.killed = true
	}
	m.mu.Unlock()
	m.process.Kill()
}

// Close ends the machine if it still runs, flushing its disk files, and frees
// all it held. It may be called more than once.
func (m *Machine) Close() error {
	var err error
	m.closing.Do(func() {
		if m.process != nil {
			if m.Monitor != nil {
				ctx, cancel := context.WithTimeout(context.Background(), quitWait)
				if m.Monitor.Quit(ctx) == nil {
					_ = m.Wait(ctx)
				}
				cancel()
			}
			m.Kill()
		}
		if m.stop != nil {
			m.stop()
		}
		if m.Console != nil {
			<-m.Console.done // the log is whole only after the last byte
			m.Console.conn.Close()
		}
		if m.Monitor != nil {
			m.Monitor.conn.Close()
		}
		if m.log != nil {
			err = m.log.Close()
		}
		err = errors.Join(err, os.RemoveAll(m.dir))
	})
	return err
}

// socketPair returns a connection for this process and its other end for QEMU.
func socketPair() (here net.Conn, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "here")
	defer file.Close()
	there = os.NewFile(uintptr(fds[1]), "there")
	if here, err = net.FileConn(file); err != nil {
		there.Close()
		return nil, nil, err
	}
	return here, there, nil
}

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	mu    sync.Mutex
	text  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-t.limit):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Starts counts what a restart could not hide: the resets that the hypervisor
// saw and the kernels that spoke on the console.
func (m *Machine) Starts() (resets, kernels int) {
	return m.Monitor.Count("RESET"), strings.Count(m.Console.Transcript(), "Linux version ")
}
