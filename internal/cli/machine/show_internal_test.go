package machine

import (
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// A phase says how it ended, also where the flash ended it, and how often it
// was tried.
func TestPhasesText(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1e9+int64(s), 0) }
	for want, p := range map[string]api.Phase{
		"handoff under way":           {Step: "handoff", Start: at(0), State: api.StateStart},
		"handoff 3.0s":                {Step: "handoff", Start: at(0), End: at(3), State: api.StateDone},
		"handoff unconfirmed 3.0s":    {Step: "handoff", Start: at(0), End: at(3), State: api.MachineUnconfirmed},
		"disk failed 50.0s (7 tries)": {Step: "disk", Start: at(0), End: at(50), State: api.StateFailed, Tries: 7},
		"disk under way (8 tries)":    {Step: "disk", Start: at(0), State: api.StateStart, Tries: 8},
		"network failed 1.0s":         {Step: "network", Start: at(0), End: at(1), State: api.StateFailed, Tries: 1},
	} {
		if got := phasesText([]api.Phase{p}); got != want {
			t.Errorf("phasesText(%+v) = %q; want %q", p, got, want)
		}
	}
}

func TestAdviceText(t *testing.T) {
	for _, tt := range []struct {
		m    api.Machine
		want string
	}{
		{api.Machine{ID: "m1", State: api.MachineRunning}, ""},
		{api.Machine{ID: "m1", Spec: api.Spec{Name: "web-1"}, Trouble: &api.Trouble{Cause: api.CauseDiskTooSmall}}, "Run `gild cancel web-1`,"},
		{api.Machine{ID: "m1", Trouble: &api.Trouble{Cause: "made-up"}}, ""},
		{api.Machine{ID: "m1", Trouble: &api.Trouble{Cause: api.CauseSilent}, Stuck: time.Now()}, "Look at the machine's screen"},
		{api.Machine{ID: "m1", Conflict: "another"}, "Find the second machine"},
		{api.Machine{ID: "m1", NotBooted: "another came"}, "Nothing was written."},
	} {
		if got := adviceText(&tt.m); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("adviceText(%+v) = %q; want it to begin with %q", tt.m, got, tt.want)
		}
	}
}
