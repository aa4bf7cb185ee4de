package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

const (
	// startsWithin is how long a machine takes from its firmware's first word
	// to the agent's, on slow hardware.
	startsWithin = 5 * time.Minute
	// refusedFor is how long a refusal is told of a machine that says nothing
	// more.
	refusedFor = 24 * time.Hour
	// maxNamed bounds how many machines a finding names.
	maxNamed = 5
)

// symptom is something that machines show before their agent runs.
type symptom struct {
	says   string // what they do
	remedy string
	shows  func(m *api.Machine, r room) bool
}

// room is what is known of the machines beside their records.
type room struct {
	now time.Time
	// refused is what TFTP refused last to a machine that has not got further,
	// by its ID.
	refused map[string]string
}

// symptoms are looked for in this order; a machine shows at most one.
var symptoms = []symptom{
	{
		"has asked this server by TFTP for a file that it does not have, and got no further",
		"gild names the file to load itself: where another DHCP server answers, have that one name no boot file (gild serve --dhcp proxy), " +
			"or the one of gild's that the documents give for this firmware",
		func(m *api.Machine, r room) bool { return r.refused[m.ID] != "" },
	},
	{
		"nothing has been heard since it was armed",
		"turn it on, and have it boot from the network first; its port must be in the network of --interface, and UDP port 67 open here",
		func(m *api.Machine, r room) bool {
			return m.State == api.MachineArmed && m.LastSeen.Before(m.Armed.Since) && r.now.Sub(m.Armed.Since) > startsWithin
		},
	},
	{
		"the firmware has asked for an address since it was armed, and for no boot script",
		"gild machine show shows what it requested last, its screen what it waits for: another DHCP server may answer first, " +
			"and UDP ports 69 and 4011 must be open here",
		func(m *api.Machine, r room) bool {
			return m.State == api.MachineArmed && m.FirmwareSeen.After(m.Armed.Since) && r.now.Sub(m.FirmwareSeen) > startsWithin
		},
	},
	{
		"was given its boot script, and its agent has not spoken",
		"look at its screen: a kernel that stops there lacks a driver or memory; one that cannot fetch its files needs the TCP port of " +
			"--port open here",
		func(m *api.Machine, r room) bool {
			return m.State == api.MachineBooting && m.AgentSeen.Before(m.Since) && r.now.Sub(m.Since) > startsWithin
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
	r := room{now: time.Now()}
	r.refused = refusals(ctx, p, list, r.now)
	var found []Finding
	for i := range symptoms {
		if f, shown := symptoms[i].in(list, r); shown {
			found = append(found, f)
		}
	}
	if len(found) == 0 && len(list) > 0 {
		return one(OK, fmt.Sprintf("%d known, none is silent before its agent runs", len(list)), "")
	}
	return found
}

// in names the machines that show a symptom, and no earlier one.
func (s *symptom) in(list []api.Machine, r room) (Finding, bool) {
	var named []string
	for i := range list {
		m := &list[i]
		first := slices.IndexFunc(symptoms, func(s symptom) bool { return s.shows(m, r) })
		if first < 0 || &symptoms[first] != s {
			continue
		}
		name := cmp.Or(m.Spec.Name, m.ID)
		if why := r.refused[m.ID]; why != "" {
			name += " (" + why + ")"
		}
		named = append(named, name)
	}
	more := ""
	if n := len(named); n > maxNamed {
		more = fmt.Sprintf(" and %d more", n-maxNamed)
		named = named[:maxNamed]
	}
	return Finding{Level: Warning, Says: strings.Join(named, ", ") + more + ": " + s.says, Remedy: s.remedy}, len(named) > 0
}

// maxAsked bounds of how many machines the past is asked for.
const maxAsked = 50

// refusals is what TFTP refused to those whose firmware spoke last, of which
// that is the last that is known.
func refusals(ctx context.Context, p *Patient, list []api.Machine, now time.Time) map[string]string {
	out := map[string]string{}
	if p.Events == nil {
		return out
	}
	asked := 0
	for i := range list {
		m := &list[i]
		if asked == maxAsked || now.Sub(m.FirmwareSeen) > refusedFor || !m.FirmwareSeen.After(m.AgentSeen) || m.State == api.MachineBooting {
			continue
		}
		asked++
		events, err := p.Events(ctx, m.ID)
		if err != nil {
			continue // forgotten meanwhile, or the server went: found elsewhere
		}
		for _, e := range slices.Backward(events) {
			if e.Step == fleet.StepTFTP {
				out[m.ID] = e.Message
			}
			if e.Step != fleet.StepDiscover { // which is asking for an address
				break
			}
		}
	}
	return out
}
