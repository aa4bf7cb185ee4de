package order

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/api"
)

// receiptPatience is how long the receipt may take to arrive. Without it the
// server does not know that the plan was carried out.
const receiptPatience = 5 * time.Minute

// Receipt reports that the plan was carried out, and waits until the server has
// it.
func (j *Job) Receipt(ctx context.Context, way string, reasons []string) {
	r, what := j.Result, "leaving by "+way
	if way == api.HandoffInstant { // the system has been running since long ago
		what = "the disk is complete"
	}
	j.Report.Event(api.Event{Step: "handoff", State: api.StateProgress, Message: what, Receipt: &api.Receipt{
		Plan: j.Target.Plan.ID, Image: j.Target.Plan.Image.Digest, Disk: j.Target.Disk, Identity: r.Identity,
		ReadBack: cmp.Or(j.Target.Plan.ReadBack, "full"), Handoff: way, Reasons: reasons, Preserved: j.Target.preservedNames(),
		Written: r.Written, Zeroed: r.Zeroed, Kept: r.Kept, Wire: r.Wire, Repaired: r.Repaired,
		Demanded: r.Demanded, Waited: r.Waited.Seconds(), Memory: peakMemory(), PhaseTimes: r.Times, Samples: r.Samples,
	}})
	if !j.Session.Queue.Flush(ctx, 5*time.Second) {
		j.Report.Console.Line("the server does not take the receipt; trying for some minutes before leaving without")
		j.Session.Queue.Flush(ctx, receiptPatience)
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

// Leaving is the flashed disk as the ways to leave see it.
func (j *Job) Leaving(line cmdline.Line) handoff.Target {
	t := handoff.Target{
		Boot: j.Target.Image.Config.Boot, Partitions: j.Target.Image.Config.Disk.Partitions, Line: line,
		Insist: j.Target.Plan.Handoff == api.HandoffSwitchRoot, Mount: j.Target.Mount,
	}
	if j.Target.Modules != nil {
		t.Undone = j.Target.Modules.Undone()
	}
	if j.ids != nil {
		t.Replace = j.ids.Replace
	}
	return t
}
