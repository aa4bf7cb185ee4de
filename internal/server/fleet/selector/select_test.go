package selector

import (
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

func TestSelect(t *testing.T) {
	machines := []api.Machine{
		{ID: "1", Spec: api.Spec{Name: "a"}, State: api.MachineHandingOff},
		{ID: "2", Spec: api.Spec{Name: "b"}, State: api.MachineFlashing, Trouble: &api.Trouble{Cause: api.CauseDiskError}},
		{ID: "3", Spec: api.Spec{Name: "c"}, State: api.MachineFailed, Trouble: &api.Trouble{Cause: api.CauseBootFailed}},
	}
	labelled := append(machines[:3:3], api.Machine{
		ID: "4", Spec: api.Spec{Labels: map[string]string{"state": "Bavaria"}},
		State: api.MachineArmed,
	})
	for _, tt := range []struct {
		selector string
		all      []api.Machine
		want     string // IDs; or a part of the error
	}{
		{"state=handing-off", machines, "1"},
		{"state in (flashing,failed)", machines, "23"},
		{"state!=failed", machines, "12"},
		{"trouble", machines, "23"},
		{"trouble=disk-error", machines, "2"},
		{"!trouble", machines, "1"},
		{"state=nothing", machines, `no state "nothing"`},
		{"state!=nothing", machines, `no state "nothing"`},
		{"state in (failed,fialed)", machines, `no state "fialed"`},
		{"trouble=disk-eror", machines, `no trouble "disk-eror"`},
		{"state=Bavaria", labelled, "4"},
		{"rack=nowhere", machines, ""},
	} {
		picked, err := Select(tt.selector, tt.all)
		got := ""
		for _, m := range picked {
			got += m.ID
		}
		if err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) || err == nil && got != tt.want {
			t.Errorf("Select(%q) = %q, %v; want %q", tt.selector, got, err, tt.want)
		}
	}
}

// A group that means a state would have no machines, and nobody would know why.
func TestGroupBySelectorOfState(t *testing.T) {
	for selector, ok := range map[string]bool{
		"rack=b7": true, "state=Bavaria": true, "state=armed": false,
		"rack=b7,trouble=disk-error": false, "": false,
	} {
		if _, err := ForGroup(selector); (err == nil) != ok {
			t.Errorf("selector %q of a group: %v; want it taken: %v", selector, err, ok)
		}
	}
}
