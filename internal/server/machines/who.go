package machines

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// newTicket makes a boot ticket: 26 characters, 130 random bits.
func newTicket() string { return strings.ToLower(rand.Text()) }

// locate finds the record of a machine by what it shows, tells the records
// that it was mistaken for, and marks one that was made before the machine had
// shown as much.
func (s Agents) locate(ctx context.Context, shown fleet.Shown) (fleet.Found, error) {
	candidates, err := s.Store.Find(ctx, shown.Labels())
	if err != nil {
		return fleet.Found{}, err
	}
	f, err := fleet.Match(candidates, shown)
	return s.follows(ctx, f, err)
}

// locateAgent does the same for a machine whose agent says hello.
func (s Agents) locateAgent(ctx context.Context, h *api.Hello) (fleet.Found, error) {
	labels := fleet.ShownBy(&h.Inventory).Labels()
	if h.Ticket != "" {
		labels = append(labels, fleet.TicketLabel(h.Ticket))
	}
	candidates, err := s.Store.Find(ctx, labels)
	if err != nil {
		return fleet.Found{}, err
	}
	f, err := fleet.MatchAgent(candidates, h, s.now())
	return s.follows(ctx, f, err)
}

// follows does what follows from where a machine was found.
func (s Agents) follows(ctx context.Context, f fleet.Found, err error) (fleet.Found, error) {
	for _, o := range f.Others {
		s.tell(ctx, o)
	}
	if err != nil || f.From == "" {
		return f, err
	}
	return f, s.join(ctx, f)
}

// join marks the record of f.From as one with f.ID.
func (s Agents) join(ctx context.Context, f fleet.Found) error {
	_, err := s.Store.Join(ctx, f.ID, f.From, func(into, from *fleet.Record) ([]api.Event, error) {
		return fleet.Join(into, from, s.now())
	})
	if err != nil {
		// Another server may have done it, and the next word tries again.
		s.log().Warn("two records of one machine stay apart", "machine", f.ID, "other", f.From, "err", err)
		return ctx.Err()
	}
	s.log().Info("two records are one machine", "machine", f.ID, "other", f.From)
	return nil
}

// tell notes at a record that a machine was mistaken for it. That it could not
// be is only worth a log line: what is decided does not rest on it.
func (s Agents) tell(ctx context.Context, o fleet.Other) {
	_, err := s.change(ctx, o.ID, func(m *fleet.Record) ([]api.Event, error) {
		if m.State == "" { // forgotten in the meantime
			return nil, errGone
		}
		return fleet.Mistaken(m, o, s.now()), nil
	})
	if err != nil && ctx.Err() == nil {
		s.log().Warn("cannot record which machine was taken for this one", "machine", o.ID, "why", o.Why, "err", err)
	}
}

// refuse notes at the record of a machine why its agent gets no plan.
func (s Agents) refuse(ctx context.Context, f fleet.Found, inv api.Inventory, why error) (a api.Answer, m fleet.Record, err error) {
	m, err = s.update(ctx, f, func(m *fleet.Record) (events []api.Event, err error) {
		a, events = fleet.Refused(m, inv, why, s.now())
		return events, nil
	})
	if _, full := errors.AsType[*strangerError](err); full {
		a, _ = fleet.Refused(&m, inv, why, s.now())
		return a, m, nil
	}
	a.Name = m.Spec.Name
	return a, m, err
}
