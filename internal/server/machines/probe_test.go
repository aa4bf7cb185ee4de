package machines

import (
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// A system is asked where its identity puts it, not where its agent was, unless
// it asks DHCP as the agent did.
func TestProbedAt(t *testing.T) {
	const agent = "10.0.0.150"
	for name, tt := range map[string]struct {
		network []api.Link
		want    []string
	}{
		"no network":    {nil, []string{agent}},
		"DHCP":          {[]api.Link{{DHCP: true}}, []string{agent}},
		"fixed":         {[]api.Link{{Addresses: []string{"10.0.0.7/24", "fd00::7/64", "fe80::7/64"}}}, []string{"10.0.0.7", "fd00::7"}},
		"fixed beside":  {[]api.Link{{DHCP: true}, {Addresses: []string{"10.9.0.7/24"}}}, []string{"10.9.0.7", agent}},
		"fixed, and IP": {[]api.Link{{DHCP: true, Addresses: []string{"10.0.0.7/24"}}}, []string{"10.0.0.7", agent}},
	} {
		m := fleet.Record{Address: agent, Awaited: &fleet.Awaited{Probe: "tcp:22", Reach: reach(api.Identity{Network: tt.network})}}
		if got := probedAt(m); !slices.Equal(got, tt.want) {
			t.Errorf("%s: probed at %v; want %v", name, got, tt.want)
		}
	}
	m := fleet.Record{Awaited: &fleet.Awaited{Probe: "ping"}}
	if got := probedAt(m); len(got) != 0 {
		t.Errorf("a machine without an address is probed at %v", got)
	}
}
