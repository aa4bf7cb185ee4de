package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

const (
	// startsWithin is how long a machine takes from its firmware's first word
	// to the agent's, on slow hardware.
	startsWithin = 5 * time.Minute
	// maxNamed bounds how many machines a finding names.
	maxNamed = 5
)

// symptom is something that machines show before their agent runs.
type symptom struct {
	says   string // what they do
	remedy string
	shows  func(m *api.Machine, now time.Time) bool
}

// symptoms are looked for in this order; a machine shows at most one.
var symptoms = []symptom{
	{
		"nothing has been heard since it was armed",
		"turn it on, and have it boot from the network first; its port must be in the network of --interface, and UDP port 67 open here",
		func(m *api.Machine, now time.Time) bool {
			return m.State == api.MachineArmed && m.LastSeen.Before(m.Armed.Since) && now.Sub(m.Armed.Since) > startsWithin
		},
	},
	{
		"the firmware has asked for an address since it was armed, and for no boot script",
		"gild machine show shows what it requested last, its screen what it waits for: another DHCP server may answer first, " +
			"and UDP ports 69 and 4011 must be open here",
		func(m *api.Machine, now time.Time) bool {
			return m.State == api.MachineArmed && m.FirmwareSeen.After(m.Armed.Since) && now.Sub(m.FirmwareSeen) > startsWithin
		},
	},
	{
		"was given its boot script, and its agent has not spoken",
		"look at its screen: a kernel that stops there lacks a driver or memory; one that cannot fetch its files needs the TCP port of " +
			"--port open here",
		func(m *api.Machine, now time.Time) bool {
			return m.State == api.MachineBooting && m.AgentSeen.Before(m.Since) && now.Sub(m.Since) > startsWithin
		},
	},
}

// machines looks for those that do not get as far as the agent, which would
// tell more itself.
func machines(ctx context.Context, p *Patient) []Finding {
	if p.Machines == nil {
		return nil
	}
	list, err := p.Machines(ctx)
	if err != nil {
		return nil // no server runs, or it does not answer: found elsewhere
	}
	now := time.Now()
	var found []Finding
	for _, s := range symptoms {
		var named []string
		for i := range list {
			if s.shows(&list[i], now) {
				named = append(named, cmp.Or(list[i].Spec.Name, list[i].ID))
			}
		}
		if n := len(named); n > 0 {
			more := ""
			if n > maxNamed {
				more = fmt.Sprintf(" and %d more", n-maxNamed)
			}
			found = append(found, Finding{
				Level: Warning, Says: strings.Join(named[:min(n, maxNamed)], ", ") + more + ": " + s.says,
				Remedy: s.remedy,
			})
		}
	}
	if len(found) == 0 && len(list) > 0 {
		return one(OK, fmt.Sprintf("%d known, none is silent before its agent runs", len(list)), "")
	}
	return found
}
