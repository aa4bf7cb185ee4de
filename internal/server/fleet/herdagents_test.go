package fleet_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// agent lets the agent of a board say hello. Some were started by other means
// and have no ticket.
func (h *herd) agent(b *board) error {
	ticket := b.ticket
	switch {
	case b.session == "" && h.rng.IntN(3) > 0:
		return nil
	case b.session == "":
		b.session = fmt.Sprintf("s%d", h.rng.Uint64())
	case h.rng.IntN(4) == 0:
		ticket = ""
	}
	a, id := h.hello(b.session, ticket, b.shows(true))
	h.note("board %d says hello by %s with %q: %s by %s, %s", b.n, b.mac(), ticket, a.Action, id, a.Message)
	if a.Action == api.ActionLocalDisk && ticket != "" {
		if m := h.records[b.scripted]; m.Armed != nil && m.NotBooted == "" {
			return errLoop
		}
	}
	if b.plan = ""; a.Plan != nil {
		b.plan, b.spoke = a.Plan.ID, h.now
		m := h.records[id]
		if err := h.rightful(b, m); err != nil {
			return err
		}
		return h.identity(b.session, m, b)
	}
	return nil
}

// identity asks for the identity of a plan: who has it is the only one that
// speaks for the machine.
func (h *herd) identity(session string, m *fleet.Record, b *board) error {
	plan := m.Armed.Plan.ID
	if _, err := fleet.GiveIdentity(m, api.IdentityRequest{Session: session, MAC: m.MAC, Plan: plan}, h.now); err != nil {
		return nil //nolint:nilerr // it was not given
	}
	if had, ok := h.given[plan]; ok && had != nil && had != b && had.plan == plan {
		return fmt.Errorf("the identity of %s went to a second agent while that of board %d is at work", plan, had.n)
	}
	h.given[plan] = b
	return nil
}

// rightful holds a plan that was given against what is really so.
func (h *herd) rightful(b *board, m *fleet.Record) error {
	if why := unlike(h.plans[m.Armed.Plan.ID], b); why != "" {
		return fmt.Errorf("board %d got the plan of %s, but its %s is not what was agreed to: %+v", b.n, m.ID, why, m.Armed.Plan.Agreed)
	}
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		r := h.records[id]
		if r == m || r.Joined != "" || !fleet.Registered(r) || r.Armed != nil {
			continue
		}
		if evidence.UUIDs(fleet.Knows(r).UUID, b.uuid) == evidence.Agrees && evidence.UUIDs(fleet.Knows(m).UUID, b.uuid) != evidence.Agrees {
			return fmt.Errorf("board %d is known by its UUID as %s, which is not armed, and got the plan of %s", b.n, id, m.ID)
		}
	}
	return nil
}

// write is the first write of an agent: after its own look at its machine.
func (h *herd) write(b *board) error {
	if b.plan == "" {
		return nil
	}
	agreed, inv := h.plans[b.plan], b.shows(true)
	itself := evidence.OtherMachine(agreed, &inv) == nil && evidence.OtherDisk(agreed.Disk, &inv.Disks[0]) == nil
	if !itself {
		return nil
	}
	if taken := h.report(b.session, b.mac(), b.plan, event(h.seq(b), fleet.StepFlash, api.StateStart)) == nil; !taken {
		b.plan = ""
		return nil
	}
	if why := unlike(agreed, b); why != "" {
		return fmt.Errorf("board %d (%+v) was written, but its %s is not what was agreed to: %+v", b.n, *b, why, agreed)
	}
	h.writes++
	h.note("board %d is written by %s", b.n, b.plan)
	if h.rng.IntN(2) == 0 {
		last := sealed(h.seq(b), b.plan)
		if h.report(b.session, b.mac(), b.plan, last) == nil {
			b.session, b.ticket, b.plan = "", "", ""
		}
	}
	return nil
}

// unlike says in what a board really is another than was agreed to, in plain
// words and not by the rule under test; empty: in nothing.
func unlike(agreed api.Agreed, b *board) string {
	real := func(text string, fillers ...string) bool { return text != "" && !slices.Contains(fillers, text) }
	uuid, serial := real(b.uuid, "03000200-0400-0500-0006-000700080009"), real(b.serial, "Default string")
	switch {
	case agreed.UUID != "" && uuid && agreed.UUID != b.uuid:
		return "UUID"
	case agreed.Serial != "" && serial && agreed.Serial != b.serial:
		return "serial"
	case agreed.UUID != "" && !uuid && (agreed.Serial == "" || !serial), agreed.UUID == "" && agreed.Serial != "" && !serial:
		return "want of a UUID and serial"
	case agreed.UUID == "" && agreed.Serial == "" && !slices.Contains(agreed.MACs, b.card) && !slices.Contains(agreed.MACs, b.adapter):
		return "address"
	case agreed.Disk != nil && agreed.Disk.Serial != b.disk:
		return "disk"
	}
	return ""
}

func (h *herd) seq(b *board) uint64 {
	for _, m := range h.find([]string{b.mac()}) {
		if m.Session == b.session {
			return m.Seq + 1
		}
	}
	return 1
}

// lie sends anything for anybody, by what a host on the network can overhear.
func (h *herd) lie() error {
	a, b := oneOf(h.rng, h.boards), oneOf(h.rng, h.boards)
	inv := api.Inventory{
		MAC: a.mac(), UUID: oneOf(h.rng, []string{"", a.uuid, b.uuid, uuid2}), Serial: oneOf(h.rng, []string{"", a.serial, b.serial}),
		NICs:  []api.NIC{{MAC: a.mac()}, {MAC: b.card}, {MAC: oneOf(h.rng, adapters)}},
		Disks: []api.Disk{{Name: "sda", Serial: oneOf(h.rng, []string{a.disk, b.disk}), Size: 1 << 30}}, Kernel: "6.1",
	}
	h.note("the liar speaks for %s: %+v", a.mac(), inv)
	switch h.rng.IntN(5) {
	case 0:
		h.seen(fleet.Sighting{
			MAC: a.mac(), UUID: inv.UUID, Source: fleet.Source(h.rng.IntN(3)), Message: "no boot file",
			Cause: api.CauseNoBootFile,
		})
	case 1:
		h.script(inv)
	case 2:
		for range 3 {
			answer, id := h.hello(fmt.Sprintf("liar%d", h.rng.Uint64()), oneOf(h.rng, []string{"", a.ticket, b.ticket, "made-up"}), inv)
			if answer.Plan != nil {
				return h.identity(h.records[id].Session, h.records[id], nil)
			}
		}
	case 3:
		e := oneOf(h.rng, []api.Event{event(9, fleet.StepFlash, api.StateStart), event(9, fleet.StepFlash, api.StateFailed), sealed(9, a.plan)})
		for _, plan := range []string{"", a.plan, b.plan} {
			for _, m := range h.find([]string{a.mac()}) {
				if _, err := fleet.Report(&m, api.Report{Session: "stranger", MAC: a.mac(), Plan: plan, Events: []api.Event{e}}, "",
					h.now); err == nil && !fleet.Repeated(&m, api.Report{Session: "stranger", Plan: plan, Events: []api.Event{e}}) {
					return fmt.Errorf("a report of a stranger for %s was taken", m.ID)
				}
			}
		}
	case 4:
		for _, m := range h.records {
			if _, ok := fleet.Beacon(m, "made-up", "", h.now); ok {
				return errors.New("a made-up beacon counts")
			}
		}
	}
	return nil
}
