package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
)

const (
	// ticketFor is how long a boot ticket is good for: a kernel and an initramfs
	// over a slow link, and a card that takes its time.
	ticketFor = 20 * time.Minute
	// maxTickets bounds those of one machine; the oldest goes first, but never
	// that of the agent at work.
	maxTickets = 4
)

// Issue notes the ticket that the boot script hands to the agent, for the
// machine that showed who. It is kept as a hash.
func Issue(m *Record, ticket string, who api.Inventory, now time.Time) {
	t := Ticket{Hash: hashOf(ticket), Issued: now, MAC: who.MAC, UUID: who.UUID, Serial: who.Serial}
	if m.Armed != nil {
		t.Plan = m.Armed.Plan.ID
	}
	atWork := func(t Ticket) bool { return t.Session != "" && t.Session == m.Session }
	live := slices.DeleteFunc(slices.Clone(m.Tickets), func(t Ticket) bool { return now.Sub(t.Issued) >= ticketFor && !atWork(t) })
	// Anybody can ask for scripts. The agent that has its plan may have to say
	// hello again, and is to be known then.
	for len(live) >= maxTickets {
		i := max(0, slices.IndexFunc(live, func(t Ticket) bool { return !atWork(t) }))
		live = slices.Delete(live, i, i+1)
	}
	m.Tickets = append(live, t)
}

// TicketError says that an agent's ticket does not fit it. Nothing is to be
// written by it.
type TicketError struct {
	Why string // as a sentence without its stop
}

func (e *TicketError) Error() string { return "boot ticket refused: " + e.Why }

// MatchAgent picks the record of a machine whose agent says hello. One with a
// ticket belongs to the record whose boot script handed it out, by whatever
// card it speaks; a *TicketError says that none did, with the record that the
// evidence leads to. Any other is found as by [Match].
func MatchAgent(candidates []Record, h *api.Hello, now time.Time) (Found, error) {
	shown := ShownBy(&h.Inventory)
	if i := slices.IndexFunc(candidates, func(m Record) bool { return holdsTicket(&m, h.Ticket) }); i >= 0 {
		holder := &candidates[i]
		misfit := TicketFits(holder, h, now)
		if misfit == nil {
			f := Found{ID: holder.ID, Known: true, From: seenAs(candidates, holder, h.Inventory.MAC)}
			f.Foreign = foreign(candidates, f.ID, shown)
			return f, nil
		}
		f, err := Match(candidates, shown)
		f.Others = append(slices.DeleteFunc(f.Others, func(o Other) bool { return o.ID == holder.ID }), Other{ID: holder.ID, Why: misfit.Error()})
		if err == nil {
			err = misfit
		}
		return f, err
	}
	f, err := Match(candidates, shown)
	f.Foreign = foreign(candidates, f.ID, shown)
	if err == nil && h.Ticket != "" {
		err = errNoTicket
	}
	return f, err
}

var errNoTicket = &TicketError{"this server did not give it, or has forgotten it; restart the machine"}

// TicketFits reports whether an agent may use its ticket: the machine's boot
// script handed it out, nobody or the same session has used it, and the machine
// shows nothing else than it did then. An error is a *TicketError.
func TicketFits(m *Record, h *api.Hello, now time.Time) error {
	i := slices.IndexFunc(m.Tickets, func(t Ticket) bool { return t.Hash == hashOf(h.Ticket) })
	if i < 0 {
		return errNoTicket
	}
	t := m.Tickets[i]
	switch {
	case t.Session != "" && t.Session != h.Session:
		return &TicketError{"another agent has used it"}
	case t.Session == "" && now.Sub(t.Issued) >= ticketFor:
		return &TicketError{"it was given " + now.Sub(t.Issued).Round(time.Minute).String() + " ago; restart the machine"}
	}
	then, shown := Shown{UUID: t.UUID, Serial: t.Serial}, Shown{UUID: h.Inventory.UUID, Serial: h.Inventory.Serial}
	if uuid, serial := Strong(m, shown); uuid == evidence.Contradicts || serial == evidence.Contradicts {
		known := Knows(m)
		return &TicketError{fmt.Sprintf("this machine has %s, the agent is in one with %s at %s",
			Shown{UUID: known.UUID, Serial: known.Serial}.text(), shown.text(), h.Inventory.MAC)}
	}
	if evidence.UUIDs(then.UUID, shown.UUID) == evidence.Contradicts || evidence.Serials(then.Serial, shown.Serial) == evidence.Contradicts {
		return &TicketError{fmt.Sprintf("the boot script was given to a machine with %s, the agent is in one with %s at %s", then.text(),
			shown.text(), h.Inventory.MAC)}
	}
	return nil
}

// redeem uses the ticket of a hello up.
func redeem(m *Record, h *api.Hello, now time.Time) error {
	if err := TicketFits(m, h, now); err != nil {
		return err
	}
	m.Tickets = slices.Clone(m.Tickets)
	for i := range m.Tickets {
		if m.Tickets[i].Hash == hashOf(h.Ticket) {
			m.Tickets[i].Session = h.Session
		}
	}
	return nil
}

// holdsTicket reports whether the boot script that handed out a ticket was
// this machine's.
func holdsTicket(m *Record, ticket string) bool {
	return ticket != "" && slices.ContainsFunc(m.Tickets, func(t Ticket) bool { return t.Hash == hashOf(ticket) })
}
