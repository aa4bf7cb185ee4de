package outlook

import (
	"fmt"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
	"github.com/gild-dev/gild/internal/server/fleet/view"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// The time left is that to the running system as soon as one flash of the image
// has come to it, and is shorter where others leave the link before.
func TestTimeLeft(t *testing.T) {
	var r Room
	image := api.PlanImage{Name: "web", Digest: "sha256:1"}
	flashing := func(id string, left int64) fleet.Record {
		return fleet.Record{
			ID: id, State: api.MachineFlashing, Armed: &fleet.Armed{Plan: api.Plan{ID: id, Image: image}},
			Progress: &api.Progress{Phase: "write", Done: 1, Total: 2, Work: &progress.Work{
				Data: 100 + left, Written: 100, WriteRate: 10, SettleRate: 10, WireRate: 5, Watched: 20, Brake: progress.BrakeLink,
			}},
		}
	}
	show := func(m fleet.Record) string {
		v := view.Machine(m, view.Operator, noon, noon)
		v = r.With(v, noon)
		return fmt.Sprint(v.Estimate.Left, " ", v.Estimate.Until)
	}
	a, b := flashing("a", 1000), flashing("b", 500)
	a.AgentSeen, b.AgentSeen = noon, noon
	r.Take(&a)
	if got := show(a); got != "100 handoff" {
		t.Errorf("alone, first of its image: %s; want 100 s to the handoff", got)
	}
	for i, start := range []float64{30, 40, 300} {
		done := fleet.Record{ID: fmt.Sprint(i), State: api.MachineRunning, System: &image, Took: history.Took{Finish: 2, Start: start}}
		r.Take(&done)
	}
	noon = noon.Add(2 * easeEvery)
	if got := show(a); got != "142 running" {
		t.Errorf("alone: %s; want the median of 40 s and 2 s more", got)
	}
	r.Take(&b)
	noon = noon.Add(2 * easeEvery)
	a.AgentSeen = noon
	// 50 s with half of the link each, then all of it.
	if got := show(a); got != "117 running" {
		t.Errorf("beside one that ends before: %s; want 75 s of writing", got)
	}
	r.Forget("b")
	noon = noon.Add(2 * easeEvery)
	a.AgentSeen = noon
	if got := show(a); got != "142 running" {
		t.Errorf("the other is gone: %s", got)
	}
	a.Armed, a.Progress, a.State, a.Since, a.System = nil, nil, api.MachineHandingOff, noon.Add(-15*time.Second), &image
	if got := show(a); got != "25 running" {
		t.Errorf("handing off for 15 s: %s", got)
	}
	a.State = api.MachineRunning
	if v := r.With(view.Machine(a, view.Operator, noon, noon), noon); v.Estimate != nil {
		t.Errorf("running: %+v; want nothing", v.Estimate)
	}
	r.Reset()
	noon = noon.Add(24 * time.Second) // more than a heartbeat
	if v := r.With(view.Machine(b, view.Operator, noon, noon), noon); v.Estimate == nil || v.Estimate.Left != 0 || v.Estimate.Rate != 0 {
		t.Errorf("one that is silent: %+v; want neither rate nor time", v.Estimate)
	}
}
