package fleet

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Bounds of a history.
const (
	keptFlashes = 50
	keptSamples = 60  // with a receipt in the past
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
	var order []*api.Flash
	byPlan := map[string]*api.Flash{}
	happened := happened(events)
	for i, e := range events {
		f := byPlan[e.Plan]
		if e.Step == StepArm && e.To == api.MachineArmed && e.Plan != "" {
			f = &api.Flash{Plan: e.Plan, Identity: e.Identity, By: e.Actor, Armed: e.Time, Outcome: outcomeUnderWay}
			if e.Image != nil {
				f.Image = *e.Image
			}
			byPlan[e.Plan] = f
			order = append(order, f)
			continue
		}
		if f != nil {
			addEvent(f, e, happened[i])
		}
	}
	slices.Reverse(order)
	order = order[:min(len(order), keptFlashes)]
	flashes := make([]api.Flash, len(order))
	for i, f := range order {
		flashes[i] = *f
	}
	return flashes
}

// happened tells when things happened, by the server's clock. An agent tells
// them later, several at once, and its own clock may be wrong; but it counts the
// seconds since its kernel started, and the word that came with the least delay
// says when that was.
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

// addEvent takes one event, which happened at a time, into the flash that it
// belongs to.
func addEvent(f *api.Flash, e api.Event, at time.Time) {
	if byAgent(&e) {
		addPhase(f, e, at)
	}
	if f.Started.IsZero() && e.To == api.MachineFlashing {
		f.Started = e.Time
	}
	if e.Receipt != nil {
		f.Receipt, f.Samples = e.Receipt, e.Receipt.Samples
	}
	end := func(outcome string) {
		f.Outcome, f.Ended, f.Cause, f.Message = outcome, e.Time, e.Cause, e.Message
	}
	switch {
	case e.Cause == api.CauseCancelled:
		end(outcomeCancelled)
	case e.Cause == api.CauseLapsed:
		end(outcomeLapsed)
	case e.Cause == api.CauseBootFailed:
		end(api.CauseBootFailed)
	case e.To == api.MachineHandingOff, e.To == api.MachineRunning, e.To == api.MachineUnconfirmed, e.To == api.MachineFailed:
		end(e.To)
	case e.To == api.MachineFlashing || e.To == api.MachineBooting:
		f.Outcome, f.Ended, f.Cause, f.Message = outcomeUnderWay, time.Time{}, "", e.Message
	case f.Outcome == outcomeUnderWay && e.Message != "":
		f.Message = e.Message
	}
}

// addPhase notes when a boot step began and ended. A step that is tried again
// is a phase of its own.
func addPhase(f *api.Flash, e api.Event, at time.Time) {
	last := len(f.Phases) - 1
	open := last >= 0 && f.Phases[last].Step == e.Step && f.Phases[last].End.IsZero()
	switch {
	case e.State == api.StateStart || !open && e.State != api.StateProgress:
		f.Phases = append(f.Phases, api.Phase{Step: e.Step, Start: at, State: e.State})
		if e.State != api.StateStart {
			f.Phases[last+1].End = at
		}
	case open:
		f.Phases[last].State = e.State
		if e.State != api.StateProgress {
			f.Phases[last].End = at
		}
	}
}

// AddSample appends to the samples of a flash under way. A list that is full
// is thinned to half: then it covers twice the time, half as finely.
func AddSample(samples []api.Sample, s api.Sample) []api.Sample {
	if len(samples) >= liveSamples {
		samples = thin(samples, liveSamples/2)
	}
	return append(samples, s)
}

// thin keeps at most n samples, evenly, the last one among them.
func thin(samples []api.Sample, n int) []api.Sample {
	if len(samples) <= n {
		return samples
	}
	out := make([]api.Sample, n)
	for i := range out {
		out[i] = samples[(i+1)*len(samples)/n-1]
	}
	return out
}
