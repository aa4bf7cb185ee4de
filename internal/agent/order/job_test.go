package order

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order/ordertest"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/settings"
)

// testJob is a job on the machine of ordertest, without a disk.
func testJob(t *testing.T) *Job {
	t.Helper()
	session := &report.Session{ID: "s", MAC: ordertest.MAC, Queue: report.NewQueue()}
	reporter := &report.Reporter{Console: &screen.Console{}, Kmsg: &screen.Kmsg{}, Queue: session.Queue, Uptime: func() float64 { return 0 }}
	return New(&machine.Played{Is: ordertest.Machine()}, reporter, session, slog.New(slog.DiscardHandler))
}

func TestAccept(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	good := api.Plan{
		ID: "p", Image: api.PlanImage{Name: "d", Repository: "golden/debian-12", Digest: digest}, Agreed: ordertest.Agreed(),
		Agent: settings.Agent{ReadBack: "full", Handoff: "auto"},
	}
	for name, spoil := range map[string]func(*api.Plan){
		"":                   func(*api.Plan) {},
		"no id":              func(p *api.Plan) { p.ID = "" },
		"digest":             func(p *api.Plan) { p.Image.Digest = "sha256:A" },
		"digest with a path": func(p *api.Plan) { p.Image.Digest = "../x" },
		"repository":         func(p *api.Plan) { p.Image.Repository = "golden/../../agent" },
		"handoff":            func(p *api.Plan) { p.Handoff = "jump" },
		"read-back":          func(p *api.Plan) { p.ReadBack = "maybe" },
	} {
		a := testJob(t)
		plan := good
		spoil(&plan)
		_, err := a.accept(api.Answer{Action: api.ActionFlash, Plan: &plan})
		if (err == nil) != (name == "") || (a.Target.Plan != nil) != (name == "") {
			t.Errorf("accept, wrong %q = %v, plan %v", name, err, a.Target.Plan)
		}
	}
	if _, err := new(Job).accept(api.Answer{Action: api.ActionFlash}); err == nil {
		t.Error("accept() without a plan = nil; want an error")
	}
}

func TestAcceptKeepsTheImageOfTheSamePlan(t *testing.T) {
	plan := api.Plan{ID: "p", Image: api.PlanImage{Repository: "g", Digest: "sha256:" + strings.Repeat("a", 64)}, Agreed: ordertest.Agreed()}
	a := testJob(t)
	a.Target.Plan, a.Target.Image = &plan, &golden.Image{}
	same, other := plan, plan
	other.ID = "q"
	if _, err := a.accept(api.Answer{Plan: &same}); err != nil || a.Target.Image == nil {
		t.Errorf("accept(same plan) = %v, image kept %v; want nil, true", err, a.Target.Image != nil)
	}
	if _, err := a.accept(api.Answer{Plan: &other}); err != nil || a.Target.Image != nil {
		t.Errorf("accept(other plan) = %v, image kept %v; want nil, false", err, a.Target.Image != nil)
	}
}

func TestFits(t *testing.T) {
	image := golden.Disk{Size: 1 << 30, SectorSize: 512}
	for _, tt := range []struct {
		disk api.Disk
		ok   bool
	}{
		{api.Disk{Size: 1 << 30, SectorSize: 512}, true},
		{api.Disk{Size: 1<<30 - 512, SectorSize: 512}, false},
		{api.Disk{Size: 2 << 30, SectorSize: 4096}, false},
	} {
		if err := fits(tt.disk, image); (err == nil) != tt.ok || err != nil && !errors.Is(err, errUnfit) {
			t.Errorf("fits(%+v) = %v; want ok %v", tt.disk, err, tt.ok)
		}
	}
}
