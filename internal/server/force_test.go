package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
)

// The operator API takes the force of a cancel and of a removal, and tells what
// was done by whom after the machine is gone.
func TestForceOverHTTP(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	ctx, o := t.Context(), r.operator
	status := func(err error) int {
		said, ok := errors.AsType[*operatorclient.ProblemError](err)
		if !ok {
			t.Fatalf("%v; want a refusal", err)
		}
		return said.Status
	}
	write := func(session string) {
		t.Helper()
		if _, err := o.Flash(ctx, mac, machinestest.Flash("debian")); err != nil {
			t.Fatal(err)
		}
		agent, err := agentclient.New(r.BaseURL)
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := agent.Hello(ctx, machinestest.Hello(session, mac))
		if err != nil || a.Plan == nil {
			t.Fatalf("Hello = %+v, %v; want the plan", a, err)
		}
		err = agent.Report(ctx, api.Report{Session: session, MAC: mac, Plan: a.Plan.ID, Events: []api.Event{
			{Seq: 1, Time: time.Now(), Step: fleet.StepFlash, State: api.StateStart},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("s1")
	if _, err := o.Cancel(ctx, mac, false); status(err) != 409 {
		t.Errorf("Cancel in mid-write = %v; want 409", err)
	}
	m, err := o.Cancel(ctx, mac, true)
	if err != nil || m.Armed != nil || !strings.Contains(m.Message, "does not boot until it is flashed again") {
		t.Errorf("Cancel by force = %+v, %v; want told what it did", m, err)
	}
	write("s2")
	if err := o.Delete(ctx, mac, false); status(err) != 409 {
		t.Errorf("Delete in mid-write = %v; want 409", err)
	}
	if err := o.Delete(ctx, mac, true); err != nil {
		t.Errorf("Delete by force = %v", err)
	}
	log, err := o.Log(ctx, 10, true)
	if err != nil || len(log) < 4 || !strings.HasPrefix(log[0].Event.Message, "forgotten by force") {
		t.Errorf("Log for audit = %+v, %v; want the removal first", log, err)
	}
	for _, e := range log {
		if !e.Event.Audited() || e.Machine != mac {
			t.Errorf("in the log for audit: %+v", e)
		}
	}
}
