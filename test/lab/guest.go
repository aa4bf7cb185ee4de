package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/vm"
)

const (
	// bootWait is for an emulated machine on a busy host; one that hangs says
	// nothing.
	bootWait = 10 * time.Minute
	// commandWait is for one command, and for a shutdown.
	commandWait = 2 * time.Minute
	// examineWait bounds how long a machine is looked at whose test has failed.
	examineWait = 3 * time.Minute
	// requiredMemory is what gild promises to work with, MiB.
	requiredMemory = 512

	// goldenName is the host name in the images.
	goldenName = "golden"
)

// Guest is one machine of a room, from power-on to power-off. What it does not
// do in time, or a kernel panic, ends the test.
type Guest struct {
	*vm.Machine
	// Hostname is what its prompts say: golden, unless its identity gave it
	// another name.
	Hostname string
	t        testing.TB
}

func (g *Guest) loginPrompt() string { return g.Hostname + " login:" }
func (g *Guest) shellPrompt() string { return "root@" + g.Hostname + ":~# " }

// PowerOn starts a machine. Accelerator and network come from the room; memory
// is 512 MiB unless named.
func (r *Room) PowerOn(cfg vm.Config) *Guest {
	r.t.Helper()
	log := filepath.Join(r.Logs, fmt.Sprintf("console-%d.log", len(r.consoles)+1))
	r.consoles = append(r.consoles, log)
	cfg.Accel, cfg.Namespace, cfg.SerialLog = r.Accel, r.Net.Namespace, log
	if cfg.Memory == 0 {
		cfg.Memory = requiredMemory
	}
	times, err := os.Create(strings.TrimSuffix(log, ".log") + ".times")
	if err != nil {
		r.t.Fatal(err)
	}
	stamps := newStamps(times)
	cfg.Serial = stamps
	// Not to the end of the test's context: a test that has failed wants to know
	// what its machines do.
	m, err := vm.Start(context.WithoutCancel(r.t.Context()), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	stamps.pid.Store(int64(m.Pid()))
	g := &Guest{m, goldenName, r.t}
	r.t.Cleanup(func() {
		if r.t.Failed() {
			g.examine(strings.TrimSuffix(log, ".log") + ".state")
		}
		m.Kill()
		_ = m.Close()
		times.Close()
	})
	return g
}

// examine writes down what a machine does that still runs when its test has
// failed.
func (g *Guest) examine(path string) {
	ctx, cancel := context.WithTimeout(context.Background(), examineWait)
	defer cancel()
	if _, err := g.Monitor.Status(ctx); err != nil {
		return // it is off
	}
	file, err := os.Create(path)
	if err != nil {
		g.t.Log(err)
		return
	}
	defer file.Close()
	g.Examine(ctx, file)
}

// Expect waits for a text on the console and returns what came before it.
func (g *Guest) Expect(text string) (before string) {
	g.t.Helper()
	return g.expect(bootWait, text)
}

func (g *Guest) expect(limit time.Duration, text string) (before string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeoutCause(g.t.Context(), limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	found, before, err := g.Console.Expect(ctx, text, "Kernel panic")
	if err != nil {
		g.t.Fatalf("%v; the machine itself is %s", err, g.state())
	}
	if found != text {
		g.t.Fatalf("the console says %q; want %q", found, text)
	}
	return before
}

// state is what the hypervisor says of a machine that says nothing itself: it
// stops one, as an example, when the host's disk is full.
func (g *Guest) state() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state, err := g.Monitor.Status(ctx)
	if err != nil {
		return "not to be asked: " + err.Error()
	}
	return state
}

// ExpectLogin waits for the golden system's login prompt.
func (g *Guest) ExpectLogin() {
	g.t.Helper()
	g.Expect(g.loginPrompt())
}

// LogIn waits for the login prompt and logs in as root, who has no password.
func (g *Guest) LogIn() {
	g.t.Helper()
	g.ExpectLogin()
	g.send("root")
	g.expect(commandWait, g.shellPrompt())
	// Without echo all that comes before the next prompt is output.
	g.send("stty -echo; dmesg -n 1")
	g.expect(commandWait, g.shellPrompt())
}

// Run runs a shell command in a guest that is logged in and returns its output.
func (g *Guest) Run(command string) string {
	g.t.Helper()
	g.send(command)
	return strings.TrimSpace(strings.ReplaceAll(g.expect(commandWait, g.shellPrompt()), "\r", ""))
}

// PowerOff shuts a guest that is logged in down in order and waits for its end.
func (g *Guest) PowerOff() {
	g.t.Helper()
	g.send("poweroff")
	g.End()
}

// End waits for a machine that shuts down.
func (g *Guest) End() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), commandWait)
	defer cancel()
	if err := g.Wait(ctx); err != nil {
		g.t.Fatal(err)
	}
}

func (g *Guest) send(line string) {
	g.t.Helper()
	if err := g.Console.Send(line); err != nil {
		g.t.Fatal(err)
	}
}

// EnteredWithoutRestart fails the test if the machine was reset or more than
// one kernel started in it.
func (g *Guest) EnteredWithoutRestart() {
	g.t.Helper()
	resets, kernels := g.Starts()
	if resets != 0 {
		g.t.Errorf("the machine was reset %d times on its way", resets)
	}
	if kernels != 1 {
		g.t.Errorf("the console shows %d kernels starting; want 1", kernels)
	}
}
