package machines

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// place is how far a follower has come: it has every change up to a revision
// of the store, and the first of those that the next transaction made. A
// connection may end between two changes of one transaction.
type place struct {
	revision int64
	changes  int
}

// parsePlace reads what String wrote; anything else is the beginning.
func parsePlace(s string) place {
	revision, changes, _ := strings.Cut(s, ".")
	r, err := strconv.ParseUint(revision, 10, 63)
	n, errN := strconv.ParseUint(cmp.Or(changes, "0"), 10, 31)
	if err != nil || errN != nil {
		return place{}
	}
	return place{int64(r), int(n)}
}

func (p place) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%d.%d", p.revision, p.changes), ".0")
}

// Follow sends changes as they happen.
func (s Operators) Follow(ctx context.Context, after string, send func(string, api.Change) error) error {
	return s.follow(ctx, parsePlace(after), func(at place, p state.Part) error {
		if at == (place{}) {
			return send("", shown(&s.room, p, s.now()))
		}
		return send(at.String(), shown(&s.room, p, s.now()))
	})
}

// shown is what operators see of a change. A record that was joined with
// another is gone to them.
func shown(r *room, p state.Part, now time.Time) api.Change {
	c := api.Change{Kind: p.Kind, ID: p.ID, Event: p.Event}
	switch {
	case p.Record == nil:
	case p.Record.Joined != "":
		c.Kind = api.ChangeRemoved
	default:
		m := r.view(*p.Record, now)
		c.Machine = &m
	}
	return c
}

// follow is Follow with records as they are stored.
func (s *Core) follow(ctx context.Context, after place, send func(place, state.Part) error) error {
	for {
		err := s.followFrom(ctx, after, send)
		if !errors.Is(err, keys.ErrCompacted) {
			return err
		}
		after = place{}
	}
}

// followFrom sends what comes after a place; after none, a reset and all
// machines come first, of which only the last has a place.
func (s *Core) followFrom(ctx context.Context, after place, send func(place, state.Part) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if after.revision != 0 {
		return s.Store.Follow(ctx, after.revision)(after.sender(send))
	}
	machines, revision, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	// What happens while a slow reader takes them is kept for it.
	changes := s.Store.Follow(ctx, revision)
	all := []state.Part{{Kind: api.ChangeReset}}
	for i := range machines {
		all = append(all, state.Part{Kind: api.ChangeMachine, ID: machines[i].ID, Record: &machines[i]})
	}
	after = place{revision: revision}
	for i, c := range all {
		at := place{}
		if i == len(all)-1 {
			at = after
		}
		if err := send(at, c); err != nil {
			return err
		}
	}
	return changes(after.sender(send))
}

// sender sends changes with their places, but those before p.
func (p place) sender(send func(place, state.Part) error) func(state.Change) error {
	return func(c state.Change) error {
		for i := p.changes; i < len(c.Parts); i++ {
			next := place{p.revision, i + 1}
			if i == len(c.Parts)-1 {
				next = place{revision: c.Revision}
			}
			if err := send(next, c.Parts[i]); err != nil {
				return err
			}
		}
		p = place{revision: c.Revision}
		return nil
	}
}
