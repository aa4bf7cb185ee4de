// Package command controls power by a program of the operator's: a switchable
// socket, a hypervisor, whatever has no protocol of its own here.
//
// The program is run without a shell, once for each command. It is given the
// arguments of the configuration, and in its environment, besides PATH, LANG
// and HOME:
//
//	GILD_POWER_VERB     status, on, off, shutdown, cycle, reset, boot-once or identify
//	GILD_POWER_BOOT     of boot-once: disk, network, http or cd
//	GILD_POWER_URL      of boot-once: the URL that http loads, if one is given
//	GILD_POWER_FIRMWARE of boot-once: uefi or bios
//	GILD_POWER_SECONDS  of identify: for how long; 0 is off
//	GILD_POWER_ADDRESS  address and user of the configuration
//	GILD_POWER_USER
//	GILD_MACHINE        the machine's name, or what it is known by
//	GILD_MACHINE_MACS   its MAC addresses, by blanks
//
// A password is its standard input, a line, so that no list of processes shows
// it. It answers by its exit code: 0 is done, 3 has no such verb, 4 was denied,
// 5 reaches nobody, 6 is busy, and anything else has failed; what it writes to
// standard error says why. For status it writes on or off.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/printable"
)

// Driver runs a program for one machine.
type Driver struct {
	// Dir is where programs are. Only one that lies in it is run.
	Dir string
	// Argv is the program's name, without a path, and its arguments.
	Argv []string
	// Address, User and Password are what the configuration says; may be empty.
	Address, User, Password string
	// Machine is what the machine is called, MACs are its addresses.
	Machine string
	MACs    []string
	// Limit is how long a program may run; 0: power.CallLimit.
	Limit time.Duration
}

// Exit codes that a program answers by.
const (
	exitUnsupported = 3
	exitDenied      = 4
	exitUnreachable = 5
	exitBusy        = 6
)

// maxOutput is how much of what a program writes is kept, in bytes, and
// maxShown how much of it is told.
const (
	maxOutput = 4096
	maxShown  = 300
)

// killedWithin is how long a program that was killed may keep its output open.
const killedWithin = 2 * time.Second

// program finds the program. Nobody but its owner and root may be able to
// change it: it runs with the rights of the server.
func (d *Driver) program() (string, error) {
	if len(d.Argv) == 0 {
		return "", errors.New("no program is named")
	}
	name := d.Argv[0]
	if name != filepath.Base(name) || name == "." || name == ".." || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("program %.60q is named with a path: give the name of one in %s", name, d.Dir)
	}
	path := filepath.Join(d.Dir, name)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("%s is no program: make it executable", path)
	case info.Mode()&0o022 != 0:
		return "", fmt.Errorf("others than its owner can change %s: take their right to write away", path)
	}
	return path, nil
}

// run runs the program for a verb and returns what it wrote.
func (d *Driver) run(ctx context.Context, verb string, more ...string) (string, error) {
	op := "running the power program for " + verb
	path, err := d.program()
	if err != nil {
		return "", power.Fail(power.Failed, op, err)
	}
	limit := d.Limit
	if limit <= 0 {
		limit = power.CallLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", power.Classify(op, err)
	}
	cmd := exec.CommandContext(ctx, path, d.Argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(d.environment(verb), more...)
	if d.Password != "" {
		cmd.Stdin = strings.NewReader(d.Password + "\n")
	}
	out, complaint := &bounded{}, &bounded{}
	cmd.Stdout, cmd.Stderr = out, complaint
	// What it has started goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killedWithin
	err = cmd.Run()
	if ctx.Err() != nil && err != nil {
		return "", power.Classify(op, fmt.Errorf("it did not end in time: %w", ctx.Err()))
	}
	return out.String(), d.failure(op, err, complaint.String())
}

// failure makes an error of how the program ended.
func (d *Driver) failure(op string, err error, complaint string) error {
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !exited:
		return power.Fail(power.Failed, op, err)
	}
	kind, known := map[int]power.Kind{
		exitUnsupported: power.Unsupported, exitDenied: power.Denied, exitUnreachable: power.Unreachable, exitBusy: power.Busy,
	}[exit.ExitCode()]
	if !known {
		kind = power.Failed
	}
	return power.Fail(kind, op, errors.New(strings.TrimSuffix(fmt.Sprintf("%s: %s", exit, d.shown(complaint)), ": ")))
}

// shown is what a program wrote, as a person may be shown it: one line, short,
// without the password.
func (d *Driver) shown(text string) string {
	if d.Password != "" {
		text = strings.ReplaceAll(text, d.Password, "***")
	}
	return printable.Line(text, maxShown)
}

func (d *Driver) environment(verb string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/",
		"GILD_POWER_VERB=" + verb, "GILD_POWER_ADDRESS=" + d.Address, "GILD_POWER_USER=" + d.User,
		"GILD_MACHINE=" + d.Machine, "GILD_MACHINE_MACS=" + strings.Join(d.MACs, " "),
	}
}

// bounded keeps the beginning of what is written to it, and takes the rest.
type bounded struct{ buffer bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.buffer.Write(p[:min(len(p), maxOutput-b.buffer.Len())])
	return len(p), nil
}

func (b *bounded) String() string { return b.buffer.String() }

// Status reads what the program says.
func (d *Driver) Status(ctx context.Context) (power.State, error) {
	out, err := d.run(ctx, string(power.VerbStatus))
	if err != nil {
		return power.Unknown, err
	}
	return power.ParseState(out), nil
}

// On switches the machine on.
func (d *Driver) On(ctx context.Context) error { return d.command(ctx, string(power.VerbOn)) }

// Off switches it off; orderly is the verb shutdown.
func (d *Driver) Off(ctx context.Context, orderly bool) error {
	if orderly {
		return d.command(ctx, "shutdown")
	}
	return d.command(ctx, string(power.VerbOff))
}

// Cycle switches it off and on.
func (d *Driver) Cycle(ctx context.Context) error { return d.command(ctx, string(power.VerbCycle)) }

// Reset restarts it.
func (d *Driver) Reset(ctx context.Context) error { return d.command(ctx, string(power.VerbReset)) }

// BootOnce sets what the next boot is from.
func (d *Driver) BootOnce(ctx context.Context, from power.Boot) error {
	return d.command(ctx, string(power.VerbBootOnce), "GILD_POWER_BOOT="+string(from.Device), "GILD_POWER_URL="+from.URL,
		"GILD_POWER_FIRMWARE="+map[bool]string{false: "uefi", true: "bios"}[from.Legacy])
}

// Identify lights the lamp.
func (d *Driver) Identify(ctx context.Context, lasting time.Duration) error {
	return d.command(ctx, string(power.VerbIdentify), "GILD_POWER_SECONDS="+strconv.Itoa(int(lasting/time.Second)))
}

func (d *Driver) command(ctx context.Context, verb string, more ...string) error {
	_, err := d.run(ctx, verb, more...)
	return err
}
