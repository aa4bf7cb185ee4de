package agent

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/machine"
)

// signals makes Ctrl-Alt-Del, which the kernel sends as SIGINT, an orderly
// restart. At any moment of a flash that is safe: an unfinished disk does not
// boot, and the next network boot continues.
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
			a.report.Note("start", "Ctrl-Alt-Del: restarting")
			a.session.Queue.Flush(ctx, time.Second)
			a.report.Console.Drain(time.Second)
			a.log.Error("restart", "error", machine.Reboot())
		case <-ctx.Done():
			return
		}
	}
}
