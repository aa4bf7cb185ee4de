package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

func TestAccept(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	good := api.Plan{ID: "p", Image: api.PlanImage{Name: "d", Repository: "golden/debian-12", Digest: digest}, ReadBack: "full", Handoff: "auto", Agreed: agreedOnce()}
	for name, spoil := range map[string]func(*api.Plan){
		"":                   func(*api.Plan) {},
		"no id":              func(p *api.Plan) { p.ID = "" },
		"digest":             func(p *api.Plan) { p.Image.Digest = "sha256:A" },
		"digest with a path": func(p *api.Plan) { p.Image.Digest = "../x" },
		"repository":         func(p *api.Plan) { p.Image.Repository = "golden/../../agent" },
		"handoff":            func(p *api.Plan) { p.Handoff = "jump" },
		"read-back":          func(p *api.Plan) { p.ReadBack = "maybe" },
	} {
		a, _ := testAgent(t)
		a.host, a.session.MAC = &stage{played: Rehearsal{Inventory: theMachine()}}, oneMAC
		plan := good
		spoil(&plan)
		_, err := a.accept(api.Answer{Action: api.ActionFlash, Plan: &plan})
		if (err == nil) != (name == "") || (a.plan != nil) != (name == "") {
			t.Errorf("accept, wrong %q = %v, plan %v", name, err, a.plan)
		}
	}
	if _, err := new(Agent).accept(api.Answer{Action: api.ActionFlash}); err == nil {
		t.Error("accept() without a plan = nil; want an error")
	}
}

func TestAcceptKeepsTheImageOfTheSamePlan(t *testing.T) {
	plan := api.Plan{ID: "p", Image: api.PlanImage{Repository: "g", Digest: "sha256:" + strings.Repeat("a", 64)}, Agreed: agreedOnce()}
	a, _ := testAgent(t)
	a.host, a.session.MAC = &stage{played: Rehearsal{Inventory: theMachine()}}, oneMAC
	a.plan, a.image = &plan, &golden.Image{}
	same, other := plan, plan
	other.ID = "q"
	if _, err := a.accept(api.Answer{Plan: &same}); err != nil || a.image == nil {
		t.Errorf("accept(same plan) = %v, image kept %v; want nil, true", err, a.image != nil)
	}
	if _, err := a.accept(api.Answer{Plan: &other}); err != nil || a.image != nil {
		t.Errorf("accept(other plan) = %v, image kept %v; want nil, false", err, a.image != nil)
	}
}

func TestFits(t *testing.T) {
	image := golden.Disk{Size: 1 << 30, SectorSize: 512}
	for _, tt := range []struct {
		disk api.Disk
		ok   bool
	}{
		{api.Disk{Size: 1 << 30, SectorSize: 512}, true}, {api.Disk{Size: 1<<30 - 512, SectorSize: 512}, false}, {api.Disk{Size: 2 << 30, SectorSize: 4096}, false},
	} {
		if err := fits(tt.disk, image); (err == nil) != tt.ok || err != nil && !errors.Is(err, errUnfit) {
			t.Errorf("fits(%+v) = %v; want ok %v", tt.disk, err, tt.ok)
		}
	}
}
