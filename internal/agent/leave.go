package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/backoff"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/api"
)

// receiptPatience is how long the receipt may take to arrive. Without it the
// server does not know that the plan was carried out.
const receiptPatience = 5 * time.Minute

// nodePatience is how long a partition may take to appear below /dev.
const nodePatience = 10 * time.Second

// handoff tries the plan's ways in order: what can be checked or loaded
// without changing anything first, then the receipt, then the jump.
func (a *Agent) handoff(ctx context.Context) (string, error) {
	ways, err := handoff.Ways(a.plan.Handoff)
	if err != nil {
		return "", err
	}
	reasons := slices.Clone(a.without)
	for _, way := range ways {
		start := time.Now()
		leave, err := way.Prepare(ctx, a.target())
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), mount.Unmount(handoff.NewRoot))
		}
		if err != nil {
			reasons = append(reasons, way.Name()+": "+err.Error())
			a.report.Note("handoff", "no %s: %v", way.Name(), err)
			continue
		}
		a.result.times["handoff"] = time.Since(start).Seconds()
		a.receipt(ctx, way.Name(), reasons)
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

// target is the flashed disk as the ways to leave see it.
func (a *Agent) target() handoff.Target {
	t := handoff.Target{
		Boot: a.image.Config.Boot, Partitions: a.image.Config.Disk.Partitions, Line: a.line,
		Insist: a.plan.Handoff == api.HandoffSwitchRoot, Mount: a.mountPartition,
	}
	if a.modules != nil {
		t.Undone = a.modules.Undone()
	}
	if a.ids != nil {
		t.Replace = a.ids.Replace
	}
	return t
}

// mountPartition mounts a partition of the flashed disk, or the whole disk
// when number is 0.
func (a *Agent) mountPartition(ctx context.Context, number int, fsType, dir string, flags uintptr, data string) error {
	// The type is foreign: it names a module and a file system, no more.
	if fsType == "" || strings.Trim(fsType, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return fmt.Errorf("file system %.40q cannot be mounted", fsType)
	}
	if err := a.modules.Load(fsType); err != nil {
		a.log.Debug("no module for the file system", "type", fsType, "error", err) // mount(2) has the last word
	}
	node := a.parts[number].Node
	if a.parts == nil {
		found, err := partitionNode(ctx, "/sys", a.disk.Name, number)
		if err != nil {
			return err
		}
		node = found
	}
	if err := (mount.Point{Source: node, Target: dir, Type: fsType, Flags: flags, Data: data}).Mount(); err != nil {
		return &mountError{err}
	}
	return nil
}

// partitionNode waits for the device node of a partition, whose name only the
// kernel knows: sda1, nvme0n1p1.
func partitionNode(ctx context.Context, sys, disk string, number int) (string, error) {
	if number == 0 {
		return "/dev/" + disk, nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	for {
		found, _ := filepath.Glob(filepath.Join(sys, "class/block", disk, "*", "partition"))
		for _, file := range found {
			name := filepath.Base(filepath.Dir(file))
			if machine.Text(file) != strconv.Itoa(number) {
				continue
			}
			if _, err := os.Stat("/dev/" + name); err == nil {
				return "/dev/" + name, nil
			}
		}
		if backoff.Sleep(ctx, 20*time.Millisecond) != nil {
			return "", fmt.Errorf("partition %d of %s did not appear", number, disk)
		}
	}
}

// receipt tells the server that the plan was carried out, and waits until it
// knows.
func (a *Agent) receipt(ctx context.Context, way string, reasons []string) {
	r, what := a.result, "leaving by "+way
	if way == api.HandoffInstant { // the system has been running since long ago
		what = "the disk is complete"
	}
	a.report.Event(api.Event{Step: "handoff", State: api.StateProgress, Message: what, Receipt: &api.Receipt{
		Plan: a.plan.ID, Image: a.plan.Image.Digest, Disk: a.disk, ReadBack: cmp.Or(a.plan.ReadBack, "full"), Handoff: way, Reasons: reasons,
		Written: r.Written, Zeroed: r.Zeroed, Kept: r.Kept, Wire: r.Wire, Repaired: r.Repaired, Demanded: r.Demanded, Waited: r.Waited.Seconds(), Memory: peakMemory(), PhaseTimes: r.times, Identity: r.identity,
		Preserved: a.preservedNames(), Samples: r.samples,
	}})
	if !a.session.Queue.Flush(ctx, 5*time.Second) {
		a.report.Console.Line("the server does not take the receipt; trying for some minutes before leaving without")
		a.session.Queue.Flush(ctx, receiptPatience)
	}
}

// peakMemory returns how much memory this process had resident at most, in
// bytes, or 0 where the kernel does not say (getrusage(2), ru_maxrss).
func peakMemory() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Maxrss << 10
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
