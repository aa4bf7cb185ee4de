package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
)

// What opens an identity or confirms a system is shown to no operator, whatever
// the machine does.
func TestViewShowsNoSecret(t *testing.T) {
	const secret = "CANARY4A7E"
	awaited := &fleet.Awaited{Plan: "p1", Beacon: secret, Until: at(60)}
	armed := &fleet.Armed{Plan: plan("p1"), Beacon: secret}
	for _, m := range []fleet.Record{
		{ID: mac, State: api.MachineArmed, Session: secret, Armed: armed},
		{ID: mac, State: api.MachineFlashing, Session: secret, Armed: armed, Writing: true, AgentSeen: at(0)},
		{ID: mac, State: api.MachineHandingOff, Session: secret, Armed: armed, Live: true, Awaited: awaited},
		{ID: mac, State: api.MachineHandingOff, Session: secret, Awaited: awaited},
		{ID: mac, State: api.MachineRunning, Session: secret, Awaited: awaited},
		{ID: mac, State: api.MachineDiscovered, Session: secret, Waiting: true, Tickets: []fleet.Ticket{{Hash: secret, Session: secret}}},
	} {
		p, err := json.Marshal(view.Machine(m, view.Operator, at(1), time.Time{}))
		if err != nil || strings.Contains(string(p), secret) {
			t.Errorf("View of a machine that is %s = %s, %v; want no secret", m.State, p, err)
		}
		if v, _ := (view.Proposal{Machine: m}).Preview(at(1)); strings.Contains(jsonText(t, v), secret) {
			t.Errorf("Preview of a machine that is %s holds a secret", m.State)
		}
	}
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// The last thing heard of an agent that waits is that it does, whichever of its
// words came last: what it says of its question and the answer to it race.
func TestAWaitingAgentIsSaidToWait(t *testing.T) {
	asks := api.Event{Seq: 1, Time: at(0), Step: "plan", State: api.StateProgress, Message: "asking the server what to do"}
	for name, late := range map[string]bool{"before the answer": false, "after it": true} {
		m := fleet.Record{ID: mac, MAC: mac, Spec: api.Spec{Name: "web-15", MACs: []string{mac}}, State: api.MachineRegistered}
		asked := func() { fleet.Hello(&m, hello("s1"), "192.0.2.9", true, at(0)) }
		told := func() {
			if _, err := fleet.Report(&m, report("s1", "", asks), "192.0.2.9", at(0)); err != nil {
				t.Fatal(err)
			}
		}
		m.Waiting = true // its first hello
		asked()
		if late {
			told()
		} else {
			told()
			asked()
		}
		if v := view.Machine(m, view.Operator, at(1), time.Time{}); v.Message != fleet.WaitsMessage || !v.Waiting {
			t.Errorf("%s: %q, waiting %v; want %q", name, v.Message, v.Waiting, fleet.WaitsMessage)
		}
	}
}
