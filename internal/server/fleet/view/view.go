// Package view builds what an operator is shown of a machine, of a flash that
// is not armed yet.
package view

import (
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// Principal is who asks to see something. It decides what a view has.
type Principal int

// Operator is whoever the operator API lets in: the one principal for now.
const Operator Principal = iota

// Machine builds what a principal sees of a machine at a time, with what time
// has done to it since it was stored. It names each thing that is shown, so
// that a field of a record is shown to nobody until somebody writes it here.
// listening is as for [Sweep].
func Machine(r fleet.Record, who Principal, now, listening time.Time) api.Machine {
	switch who {
	case Operator:
		return operatorView(r, now, listening)
	}
	return api.Machine{}
}

func operatorView(r fleet.Record, now, listening time.Time) api.Machine {
	fleet.Sweep(&r, now, listening)
	v := api.Machine{
		ID: r.ID, MAC: r.MAC, Spec: r.Spec, SpecRevision: specs.Revision(r.Spec),
		State: r.State, Since: r.Since,
		FirstSeen: r.FirstSeen, LastSeen: r.LastSeen, AgentSeen: r.AgentSeen, FirmwareSeen: r.FirmwareSeen,
		Firmware: r.Firmware, Address: r.Address, Inventory: r.Inventory,
		Armed: armedView(r.Armed), Awaited: awaitedView(&r), Waiting: r.Waiting && r.Stuck.IsZero(),
		Conflict: r.Conflict, ConflictSeen: r.ConflictSeen,
		NotBooted: r.NotBooted, NotBootedSeen: r.NotBootedSeen, SharedMACs: r.SharedMACs,
		Writing: r.Writing, Live: r.Live, Progress: progressView(&r, now), Receipt: r.Receipt, System: r.System,
		Dropped: r.Rationed.Dropped, Trouble: fleet.TroubleOf(&r), Message: r.Message,
	}
	if r.Armed != nil {
		v.Stuck = r.Stuck
	} else if v.Waiting {
		v.Message = fleet.WaitsMessage // whatever its agent says between two questions
	}
	return v
}

// quietAfter is how long an agent at work is silent at most.
const quietAfter = (api.HeartbeatEvery + 2) * time.Second

// progressView is how far the flash is. What has been silent for a while, or is
// between two tries, has no rate.
func progressView(r *fleet.Record, now time.Time) *api.Progress {
	if r.Progress == nil {
		return nil
	}
	p := *r.Progress
	resting := r.Trouble != nil && (r.Trouble.Resting || r.State == api.MachineFailed)
	if resting || !r.Stuck.IsZero() || now.Sub(r.AgentSeen) > quietAfter {
		p.Rate = 0
		if p.Work != nil {
			quiet := p.Work.Quiet()
			p.Work = &quiet
		}
	}
	return &p
}

func armedView(a *fleet.Armed) *api.Armed {
	if a == nil {
		return nil
	}
	return &api.Armed{
		Plan: a.Plan, Since: a.Since, Expires: a.Expires, By: a.By, IdentityName: a.IdentityName, Confirm: a.Confirm,
		Boots: a.Boots,
	}
}

// awaitedView is what is still awaited of the new system; nil: nothing is.
func awaitedView(r *fleet.Record) *api.Awaited {
	if !fleet.Awaiting(r) {
		return nil
	}
	w := r.Awaited
	return &api.Awaited{Plan: w.Plan, Probe: w.Probe, Until: w.Until, Boots: w.Boots, Limit: w.Limit}
}
