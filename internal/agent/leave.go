package agent

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/instant"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/api"
)

// flash writes the image, or lets the system write it that is entered
// meanwhile.
func (a *Agent) flash(ctx context.Context) (string, error) {
	if a.job.Sealed() {
		return a.job.Flash(ctx)
	}
	if a.without = nil; a.job.Target.Plan.Handoff == api.HandoffInstant {
		entry := instant.Entry{
			Job: a.job, Tasks: a.tasks, Kids: a.kids, Line: a.line, Conn: a.conn, Reports: &a.reports, Lease: &a.lease, Restore: a.tuning.restore,
		}
		err := entry.Enter(ctx)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		a.without = []string{api.HandoffInstant + ": " + err.Error()}
		a.report.Note("flash", "no instant handoff, the system is entered when its disk is complete: %v", err)
	}
	return a.job.Flash(ctx)
}

// handoff tries the plan's ways in order: what can be checked or loaded
// without changing anything first, then the receipt, then the jump.
func (a *Agent) handoff(ctx context.Context) (string, error) {
	ways, err := handoff.Ways(a.job.Target.Plan.Handoff)
	if err != nil {
		return "", err
	}
	reasons := slices.Clone(a.without)
	for _, way := range ways {
		start := time.Now()
		leave, err := way.Prepare(ctx, a.job.Leaving(a.line))
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), mount.Unmount(handoff.NewRoot))
		}
		if err != nil {
			reasons = append(reasons, way.Name()+": "+err.Error())
			a.report.Note("handoff", "no %s: %v", way.Name(), err)
			continue
		}
		a.job.Result.Times["handoff"] = time.Since(start).Seconds()
		a.job.Receipt(ctx, way.Name(), reasons)
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), mount.Unmount(handoff.NewRoot))
		}
		committed, err := a.jump(leave)
		reasons = append(reasons, way.Name()+": "+err.Error())
		a.report.Event(api.Event{Step: "handoff", State: api.StateFailed, Cause: api.CauseHandoff, Message: reasons[len(reasons)-1]})
		if committed {
			return "", machine.Reboot()
		}
		_ = mount.Unmount(handoff.NewRoot)
	}
	return "", errors.New(strings.Join(reasons, "; "))
}

// jump leaves everything as a system that boots from its disk expects it: no
// other process, links down, the kernel's settings its own.
func (a *Agent) jump(leave handoff.Jump) (committed bool, err error) {
	a.report.Console.Drain(time.Second)
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
	}
	if err := netif.Down(); err != nil {
		a.log.Warn("links stay up", "error", err)
	}
	a.tuning.restore()
	return leave()
}
