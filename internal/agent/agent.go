// Package agent is PID 1 of gild's initramfs.
//
// The boot is a table of steps (steps.go), walked by a runner (package boot)
// that reports everything that happens. A step that fails is reported and tried
// again after growing waits: PID 1 must not exit, as the kernel would panic,
// and must not panic itself.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/background"
	"github.com/gild-dev/gild/internal/agent/boot"
	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/instant"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/proc"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/version"
)

// memoryLimit is what the collector keeps the heap under, in bytes: a machine
// with 512 MB has about 350 left beside kernel and initramfs.
const memoryLimit = 160 << 20

// Agent is one boot of one machine.
type Agent struct {
	report  *report.Reporter
	session *report.Session
	tasks   background.Tasks
	runner  boot.Runner
	log     *slog.Logger
	tuning  tuning
	kids    *proc.Children

	line     cmdline.Line
	settings cmdline.Settings
	conn     *netif.Conn
	ca       []byte // certificate of who signs for the servers; empty: plain HTTP
	job      *order.Job
	// resolvConf is the file that gets the name servers of the network.
	resolvConf string

	reports background.Service
	lease   background.Service
	without []string // why there was no instant handoff
}

// newAgent is an agent of a session with that ID that has done nothing yet.
func newAgent(id string, host order.Host, console *screen.Console, kmsg *screen.Kmsg, log *slog.Logger) *Agent {
	a := &Agent{
		session: &report.Session{ID: id, Queue: report.NewQueue()},
		tasks:   background.Tasks{Log: log}, log: log, kids: proc.NewChildren(), resolvConf: "/etc/resolv.conf",
	}
	a.report = &report.Reporter{Console: console, Kmsg: kmsg, Queue: a.session.Queue, Uptime: machine.Uptime}
	a.runner = boot.Runner{Report: a.report, Log: log, Cause: order.Cause}
	a.job = order.New(host, a.report, a.session, log)
	return a
}

// Run is the program. As PID 1 it becomes the new system's init, or restarts
// the machine; otherwise it returns: as a keeper with how that went, or with an
// error.
func Run() error {
	if os.Args[0] == instant.KeeperName {
		return instant.Keep()
	}
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is the first program of a machine that gild boots over the network; it does nothing elsewhere", os.Args[0])
	}
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(50)
	for wait := (backoff.Backoff{}); ; {
		func() {
			defer func() {
				if p := recover(); p != nil {
					// The last resort of the last resort: whatever happens here
					// must not end the process.
					fmt.Fprintf(os.Stderr, "gild: %v\n%s", p, debug.Stack())
				}
			}()
			bootMachine()
		}()
		time.Sleep(wait.Next())
	}
}

// bootMachine walks the steps. It returns only when something that must not
// fail did.
func bootMachine() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Without these no step could even be reported.
	var early []error
	for _, p := range mount.Early() {
		// EBUSY: mounted already, by a kernel that mounts devtmpfs itself or
		// by a boot that ended here before.
		if err := p.Mount(); err != nil && !errors.Is(err, unix.EBUSY) {
			early = append(early, err)
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		early = append(early, err)
	}
	line := cmdline.Parse(string(text))
	settings, warnings := line.Settings()

	// Without one it was left out on purpose, by whoever built the initramfs.
	ca, err := os.ReadFile("/" + api.FileCA)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		early = append(early, err)
	}

	tuned := tune(settings.Debug)
	kmsg := screen.OpenKmsg()
	console := screen.Open(ctx, "/sys/class/tty/console/active", "/dev")
	a := newAgent(rand.Text(), machine.Here, console, kmsg, kmsg.Logger(logLevel(settings.Debug)))
	a.line, a.settings, a.tuning, a.ca = line, settings, tuned, ca
	a.tasks.Go("children", func() { a.kids.Reap(ctx) })
	a.tasks.Go("signals", func() { a.signals(ctx) })

	a.introduce(machine.Here.Nameplate(), a.settings.Server)
	for _, err := range early {
		a.report.Event(api.Event{Step: "start", State: api.StateFailed, Cause: api.CauseEarlyMount, Message: err.Error()})
	}
	for _, w := range warnings {
		a.report.Event(api.Event{Step: "start", State: api.StateProgress, Message: w})
	}
	a.runner.Walk(ctx, a.steps())
}

// introduce says on the consoles who is here and whom it is going to ask.
func (a *Agent) introduce(i api.Inventory, server string) {
	a.report.Console.Plate.Hardware(i)
	a.report.Console.Line("gild " + version.String())
	if who := a.report.Console.Plate.String(); who != "" {
		a.report.Show("machine: " + who)
	}
	if server != "" {
		a.report.Show("server: " + screen.Clean(server))
	}
}

func logLevel(debug bool) slog.Level {
	if debug {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// tuning is what the agent changes in the kernel's settings for the time of
// its own life.
type tuning map[string]string

// tune keeps the kernel's chatter off the consoles, which the agent writes to
// itself, lets the machine restart should PID 1 die after all, and does without
// huge pages, which would hold more memory than is used (prctl(2),
// PR_SET_THP_DISABLE: a keeper inherits that).
func tune(debug bool) tuning {
	t := tuning{}
	set := func(path, value string) {
		if old, err := os.ReadFile(path); err == nil {
			t[path] = strings.TrimSpace(string(old))
			_ = os.WriteFile(path, []byte(value), 0) // a kernel without it is as good
		}
	}
	set("/proc/sys/kernel/panic", "30")
	if !debug {
		set("/proc/sys/kernel/printk", "4")
	}
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	return t
}

// restore gives the settings back to the system that comes.
func (t tuning) restore() {
	for path, value := range t {
		_ = os.WriteFile(path, []byte(value), 0)
	}
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
}
