package order

import (
	"context"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/units"
)

// Result is what a flash leaves for the receipt.
type Result struct {
	flash.Result
	Times map[string]float64 // seconds
	Grown *partition.Partition
	// Identity is the digest of what was written, empty for none.
	Identity string
	Samples  []api.Sample // the throughput over time
}

// Sealed reports whether the plan was carried out in this boot: it never is
// again, whatever fails behind it.
func (j *Job) Sealed() bool { return j.sealed == j.Target.Plan.ID }

// From is the source of the image whose blob r gives.
func (j *Job) From(r supply.Ranges) supply.Source {
	return supply.Blob{Ranges: r, Table: j.Target.Image.Table, Name: j.Session.Client.Bases()}
}

// Flash writes the image.
func (j *Job) Flash(ctx context.Context) (string, error) {
	if j.Sealed() {
		return "already done", nil
	}
	verify, err := ParseVerify(j.Target.Plan.ReadBack)
	if err != nil {
		return "", err
	}
	device, err := j.Target.Open()
	if err != nil {
		return "", err
	}
	defer device.Close()
	keep, err := j.Target.Keep(device)
	if err != nil {
		return "", err
	}
	j.ids = nil
	start := time.Now()
	j.Begin(start)
	result, err := flash.Run(ctx, flash.Job{
		Image:    j.Target.Image,
		Keep:     keep,
		Source:   j.From(j.Source),
		Disk:     device,
		Verify:   verify,
		Progress: j.Progress,
	})
	if err != nil {
		return "", err
	}
	j.sealed = j.Target.Plan.ID
	machine.AddContent(&j.Target.Disk, device)
	j.Finish(result, map[string]float64{})
	return fmt.Sprintf("sealed in %.1f s: %s written, %s zeroed, %s kept, %s fetched", time.Since(start).Seconds(),
		units.Bytes(result.Written), units.Bytes(result.Zeroed), units.Bytes(result.Kept), units.Bytes(result.Wire)), nil
}

// Begin begins to record a flash for the receipt. Progress takes in its reports
// from there on, and Finish ends it.
func (j *Job) Begin(now time.Time) { j.recorder = newRecorder(now) }

// Progress takes in a report of the engine, which calls it from one goroutine.
func (j *Job) Progress(p flash.Progress) {
	j.recorder.add(time.Now(), p)
	j.Report.Progress("flash", api.Progress{
		Phase: p.Phase.String(), Done: p.Done, Total: p.Total, Rate: p.Rate, Wire: p.Wire, Unanswered: int(p.Unanswered.Seconds()),
		Work: &p.Work,
	})
}

// Finish takes in how a flash went. times are of what was done besides it, in
// seconds by name; those of its phases are added to them.
func (j *Job) Finish(result flash.Result, times map[string]float64) {
	j.Result = Result{Result: result, Times: times, Samples: j.recorder.samples()}
	for _, p := range result.Phases {
		times[p.Phase.String()] = p.Took.Seconds()
	}
}
