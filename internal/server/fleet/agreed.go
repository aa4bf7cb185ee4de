package fleet

import (
	"errors"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/evidence"
)

// errOldArm refuses an arm that says nothing of the machine that was meant.
var errOldArm = errors.New("it was armed by an older gild, which did not note which machine and disk were agreed to: cancel it, " +
	"and arm it again")

// fits reports whether the plan may go to a machine that shows inv: it is the
// one that the operator agreed to, and so is its disk, as far as can be seen
// here. The agent looks again before its first write.
func fits(m *Record, inv *api.Inventory) error {
	agreed := m.Armed.Plan.Agreed
	if agreed.UUID == "" && agreed.Serial == "" && len(agreed.MACs) == 0 {
		return errOldArm
	}
	if err := evidence.OtherMachine(agreed, inv); err != nil {
		return err
	}
	if agreed.Disk == nil || len(inv.Disks) == 0 {
		return nil
	}
	rule, err := diskrule.Parse(m.Armed.Plan.Disk)
	if err != nil {
		return err
	}
	d, err := rule.Select(inv.Disks)
	if err != nil {
		return nil //nolint:nilerr // the agent's to refuse, who sees more of the disks
	}
	return evidence.OtherDisk(agreed.Disk, &d)
}

// causeOf is the code of a refusal by fits.
func causeOf(err error) string {
	if c, ok := errors.AsType[*evidence.Contradiction](err); ok {
		return c.Cause
	}
	return api.CauseOtherMachine
}

// toldEvery is how often the same refusal is an event again.
const toldEvery = time.Minute

// notBooted tells at the machine why something that came as it, or in its
// place, was not given its plan.
func (t *Turn) notBooted(cause, why string) {
	m := t.m
	if m.NotBooted != why || t.now.Sub(m.NotBootedSeen) >= toldEvery {
		if m.NotBooted == "" {
			m.NotBootedSince = t.now
		}
		m.NotBooted, m.NotBootedCause, m.NotBootedSeen = why, cause, t.now
		t.Note(api.Event{Step: StepBoot, State: api.StateFailed, Cause: cause, Message: why})
	}
}

// booted ends what notBooted has told.
func (t *Turn) booted() {
	t.m.NotBooted, t.m.NotBootedCause, t.m.NotBootedSince, t.m.NotBootedSeen = "", "", time.Time{}, time.Time{}
}

// Mistaken tells a record of a machine that showed something of it and is
// another. Nothing else becomes of it: what came may be lying.
func Mistaken(m *Record, o Other, now time.Time) []api.Event {
	t := Begin(m, api.ActorMachine, now)
	if o.Shared != "" && !shares(m, o.Shared) {
		m.SharedMACs = append(slices.Clone(m.SharedMACs), o.Shared)
		e := Did(StepDiscover, "the address "+o.Shared+" was seen in two machines: it identifies neither from now on")
		e.Cause = api.CauseOtherMachine
		t.Note(e)
	}
	t.notBooted(api.CauseOtherMachine, o.Why)
	return t.Events
}

// Doubted answers an agent in a machine of which f.Doubt says that it may not
// be the record's.
func Doubted(m *Record, h api.Hello, f Found, now time.Time) (api.Answer, []api.Event) {
	t := touch(m, api.ActorAgent, now)
	t.doubted(f, &h.Inventory)
	if !f.Holds {
		return api.Answer{Action: api.ActionLocalDisk, Message: f.Doubt}, t.Events
	}
	return refused(f.Doubt), t.Events
}

// DoubtedBoot does the same for its boot script.
func DoubtedBoot(m *Record, who api.Inventory, f Found, now time.Time) (Decision, []api.Event) {
	t := touch(m, api.ActorMachine, now)
	t.doubted(f, &who)
	return Decision{ID: m.ID, Why: f.Doubt + ": booting the local disk"}, t.Events
}

// doubted tells the record, which learns nothing unless it is new.
func (t *Turn) doubted(f Found, inv *api.Inventory) {
	if !f.Known {
		t.m.Inventory, t.m.MAC = carry(t.m.Inventory, *inv), inv.MAC
	}
	t.notBooted(api.CauseOtherMachine, "a machine came by its address "+inv.MAC+": "+f.Doubt)
}

// retryRefused is after how many seconds an agent whose machine does not fit
// asks again: a person has to do something first.
const retryRefused = 30

func refused(why string) api.Answer {
	return api.Answer{Action: api.ActionWait, Retry: retryRefused, Message: why}
}

// Refused is the answer to an agent that gets no plan, and the event at the
// record that it came as. A record that is new learns what came.
func Refused(m *Record, inv api.Inventory, why error, now time.Time) (api.Answer, []api.Event) {
	t := Begin(m, api.ActorAgent, now)
	if m.State == "" {
		t = touch(m, api.ActorAgent, now)
		m.Inventory, m.MAC = carry(m.Inventory, inv), inv.MAC
	}
	t.notBooted(causeOf(why), why.Error())
	return refused(why.Error()), t.Events
}

// carry is what a machine told last, with what identifies it from before where
// it says nothing of that now: what was known is not forgotten by silence.
func carry(old *api.Inventory, now api.Inventory) *api.Inventory {
	if old != nil && evidence.UUID(now.UUID) == "" && evidence.UUID(old.UUID) != "" {
		now.UUID = old.UUID
	}
	if old != nil && evidence.Serial(now.Serial) == "" && evidence.Serial(old.Serial) != "" {
		now.Serial = old.Serial
	}
	return &now
}

// Agree is what an operator agrees to who is shown a machine and the disk that
// its rule means; nil: none was seen.
func Agree(m *Record, d *api.Disk, unseen bool) api.Agreed {
	a := Knows(m)
	if d != nil {
		a.Disk = &api.AgreedDisk{Name: d.Name, Serial: d.Serial, WWN: d.WWN, Path: d.Path, Size: d.Size, Model: d.Model}
	}
	a.Unseen = unseen && d == nil
	return a
}

// Weak says how little an arm has to tell this machine from another by; empty:
// it has enough.
func Weak(m *Record) string {
	a := Knows(m)
	switch {
	case a.UUID != "":
		return ""
	case a.Serial != "":
		return "it is identified by its serial alone: no usable UUID is known"
	}
	return "it is identified by its network address alone: whatever machine has that card or adapter is flashed; register its UUID " +
		"or serial, or let it boot once"
}
