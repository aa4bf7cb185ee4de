package history

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// telling is a flash as its events are gone through.
type telling struct {
	api.Flash
	round int    // the first phase of the boot that the events are of
	seq   uint64 // of the last event of that boot
}

// add takes one event, which happened at a time.
func (f *telling) add(e api.Event, at time.Time) {
	if byAgent(&e) {
		f.phase(e, at)
	}
	if f.Started.IsZero() && e.To == api.MachineFlashing {
		f.Started = e.Time
	}
	if e.Receipt != nil {
		f.Receipt, f.Samples = e.Receipt, e.Receipt.Samples
	}
	switch {
	case e.Cause == api.CauseCancelled:
		f.end(outcomeCancelled, e)
	case e.Cause == api.CauseLapsed:
		f.end(outcomeLapsed, e)
	case e.Cause == api.CauseBootFailed:
		f.end(api.CauseBootFailed, e)
	case e.To == api.MachineHandingOff:
		// Its last phase continues until the new system reports in.
		f.Outcome, f.Ended, f.Cause, f.Message = e.To, e.Time, e.Cause, e.Message
	case e.To == api.MachineRunning, e.To == api.MachineUnconfirmed, e.To == api.MachineFailed:
		f.end(e.To, e)
	case e.To == api.MachineFlashing || e.To == api.MachineBooting:
		f.Outcome, f.Ended, f.Cause, f.Message = outcomeUnderWay, time.Time{}, "", e.Message
	case f.Outcome == outcomeUnderWay && e.Message != "":
		f.Message = e.Message
	}
}

// end ends the flash, and with it every phase that nobody has told the end of.
func (f *telling) end(outcome string, e api.Event) {
	f.Outcome, f.Ended, f.Cause, f.Message = outcome, e.Time, e.Cause, e.Message
	state := outcome
	if outcome == api.MachineRunning {
		state = api.StateDone
	}
	for i := range f.Phases {
		if p := &f.Phases[i]; p.End.IsZero() {
			p.End, p.State = e.Time, state
		}
	}
}

// phase notes when a boot step began and ended. A step that failed and is tried
// again is one phase, and the steps on the way back to it are none; what
// another boot of the machine does is a phase of its own.
func (f *telling) phase(e api.Event, at time.Time) {
	if e.Seq <= f.seq {
		f.round = len(f.Phases)
	}
	f.seq = e.Seq
	p := f.last(e.Step)
	switch {
	case p == nil && e.State == api.StateProgress:
	case p != nil && p.State == api.StateFailed: // again
		p.Tries++
		p.State, p.End = e.State, time.Time{}
	case p != nil && f.goesBack(e.Step):
		return
	case p == nil || !p.End.IsZero() && e.State != api.StateProgress:
		f.Phases = append(f.Phases, api.Phase{Step: e.Step, Start: at, State: e.State})
		p = &f.Phases[len(f.Phases)-1]
	case p.End.IsZero():
		p.State = e.State
	}
	switch {
	case p == nil || e.State == api.StateStart || e.State == api.StateProgress:
		return
	case e.State == api.StateFailed:
		p.Tries = max(p.Tries, 1)
		f.Cause = e.Cause
	case p.Tries > 0:
		f.Cause = ""
	}
	p.End = at
}

// last is the newest phase of a step in this boot; nil: there is none.
func (f *telling) last(step string) *api.Phase {
	for i := len(f.Phases) - 1; i >= f.round; i-- {
		if f.Phases[i].Step == step {
			return &f.Phases[i]
		}
	}
	return nil
}

// goesBack reports whether a step that was done comes again on the way to a
// later one that has failed.
func (f *telling) goesBack(step string) bool {
	behind := f.Phases[f.round:]
	i := slices.IndexFunc(behind, func(p api.Phase) bool { return p.Step == step })
	return slices.ContainsFunc(behind[i+1:], func(p api.Phase) bool { return p.State == api.StateFailed })
}
