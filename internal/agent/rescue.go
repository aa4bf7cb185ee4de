package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/backoff"
)

// busybox is where the initramfs has it when a rescue shell was asked for.
const busybox = "/bin/busybox"

// rescue gives a shell on every console, again and again. A machine in rescue
// mode says no hello, so that no plan is taken and nothing is written; its
// events still reach the server.
func (a *Agent) rescue(ctx context.Context) (string, error) {
	if _, err := os.Stat(busybox); err != nil {
		return "", fmt.Errorf("a rescue shell was asked for, but the initramfs has none: serve it with --rescue-shell (%w)", err)
	}
	a.report.Note("rescue", "nothing will be written; reboot -f restarts the machine")
	names := a.report.Console.Names()
	for _, name := range names {
		if name == "tty0" {
			name = "tty1" // tty0 is whichever is shown, and controls nothing
		}
		a.tasks.Go("shell", func() {
			for ctx.Err() == nil {
				if err := a.shell("/dev/" + filepath.Base(name)); err != nil {
					a.log.Warn("rescue shell", "console", name, "error", err)
				}
				_ = backoff.Sleep(ctx, time.Second)
			}
		})
	}
	if len(names) == 0 {
		return "", errors.New("no console for a rescue shell")
	}
	<-ctx.Done()
	return "", ctx.Err()
}

// shell runs one login shell as the leader of a session that owns the
// terminal: without that Ctrl-C and job control do not work.
func (a *Agent) shell(tty string) error {
	fd, err := unix.Open(tty, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening %s: %w", tty, err)
	}
	// Not os.OpenFile, which would make the terminal non-blocking.
	f := os.NewFile(uintptr(fd), tty)
	defer f.Close()
	return a.kids.Run(busybox, []string{"-sh"}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", "TERM=linux", `PS1=gild:\w# `},
		Files: []*os.File{f, f, f},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
}
