// Package history tells the flashes of a machine from the events that are kept
// of it.
package history

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Bounds of a history.
const (
	keptFlashes = 50
	KeptSamples = 60  // with a receipt in the past
	liveSamples = 240 // of a flash under way
)

// Outcomes of a flash: api.Flash.Outcome. Where the machine went on to a state
// of its own, the outcome is that state.
const (
	outcomeUnderWay  = "under way"
	outcomeCancelled = "cancelled"
	outcomeLapsed    = "lapsed"
)

// Flashes derives a machine's history from the events that are kept of it,
// oldest first. The newest flash comes first. Events of a flash whose arm is
// no longer kept are left out.
func Flashes(events []api.Event) []api.Flash {
	var order []*telling
	byPlan := map[string]*telling{}
	happened := happened(events)
	for i, e := range events {
		f := byPlan[e.Plan]
		if e.To == api.MachineArmed && e.Plan != "" {
			f = &telling{Flash: api.Flash{Plan: e.Plan, Identity: e.Identity, By: e.Actor, Armed: e.Time, Outcome: outcomeUnderWay}}
			if e.Image != nil {
				f.Image = *e.Image
			}
			byPlan[e.Plan] = f
			order = append(order, f)
			continue
		}
		if f != nil {
			f.add(e, happened[i])
		}
	}
	slices.Reverse(order)
	order = order[:min(len(order), keptFlashes)]
	flashes := make([]api.Flash, len(order))
	for i, f := range order {
		flashes[i] = f.Flash
	}
	return flashes
}

// happened tells when things happened, by the server's clock. An agent tells
// them later, several at once, and its own clock may be wrong; but it counts
// the seconds since its kernel started, and the word that came with the least
// delay says when that was.
func happened(events []api.Event) []time.Time {
	at := make([]time.Time, len(events))
	var boot []int // events of one boot
	var began time.Time
	place := func() {
		for _, i := range boot {
			at[i] = began.Add(sinceStart(&events[i]))
		}
		boot, began = nil, time.Time{}
	}
	var last uint64
	for i := range events {
		e := &events[i]
		at[i] = e.Time
		if !byAgent(e) || e.Uptime <= 0 || e.Uptime > maxUptime {
			continue
		}
		if e.Seq <= last {
			place() // another session: another boot
		}
		last = e.Seq
		if start := e.Time.Add(-sinceStart(e)); began.IsZero() || start.Before(began) {
			began = start
		}
		boot = append(boot, i)
	}
	place()
	return at
}

// maxUptime is longer than any machine runs an agent, in seconds: more is no
// uptime.
const maxUptime = 366 * 24 * 60 * 60

func sinceStart(e *api.Event) time.Duration { return time.Duration(e.Uptime * float64(time.Second)) }

func byAgent(e *api.Event) bool { return e.Actor == api.ActorAgent && e.Seq > 0 }

// AddSample appends to the samples of a flash under way. A list that is full
// is thinned to half: then it covers twice the time, half as finely.
func AddSample(samples []api.Sample, s api.Sample) []api.Sample {
	if len(samples) >= liveSamples {
		samples = Thin(samples, liveSamples/2)
	}
	return append(samples, s)
}

// Thin keeps at most n samples, evenly, the last one among them.
func Thin(samples []api.Sample, n int) []api.Sample {
	if len(samples) <= n {
		return samples
	}
	out := make([]api.Sample, n)
	for i := range out {
		out[i] = samples[(i+1)*len(samples)/n-1]
	}
	return out
}
