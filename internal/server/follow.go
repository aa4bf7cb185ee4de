package server

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/state"
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
	revision, changes, split := strings.Cut(s, ".")
	r, err := strconv.ParseInt(revision, 10, 64)
	if err != nil || r < 0 {
		return place{}
	}
	if !split {
		return place{revision: r}
	}
	n, err := strconv.Atoi(changes)
	if err != nil || n < 0 {
		return place{}
	}
	return place{r, n}
}

func (p place) String() string {
	if p.changes == 0 {
		return strconv.FormatInt(p.revision, 10)
	}
	return strconv.FormatInt(p.revision, 10) + "." + strconv.Itoa(p.changes)
}

// Follow sends changes as they happen.
func (s *Machines) Follow(ctx context.Context, after string, send func(string, api.Change) error) error {
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
func (s *Machines) follow(ctx context.Context, after place, send func(place, state.Part) error) error {
	for {
		if after.revision == 0 {
			var err error
			if after, err = s.snapshot(ctx, send); err != nil {
				return err
			}
		}
		err := s.Store.Watch(ctx, after.revision, func(c state.Change) error {
			for i := after.changes; i < len(c.Parts); i++ {
				next := place{after.revision, i + 1}
				if i == len(c.Parts)-1 {
					next = place{revision: c.Revision}
				}
				if err := send(next, c.Parts[i]); err != nil {
					return err
				}
			}
			after = place{revision: c.Revision}
			return nil
		})
		if !errors.Is(err, state.ErrCompacted) {
			return err
		}
		after = place{}
	}
}

// snapshot sends a reset and all machines and returns the place at which they
// were so, which only the last of these messages has.
func (s *Machines) snapshot(ctx context.Context, send func(place, state.Part) error) (place, error) {
	machines, rev, err := s.Store.List(ctx)
	if err != nil {
		return place{}, err
	}
	all := []state.Part{{Kind: api.ChangeReset}}
	for i := range machines {
		all = append(all, state.Part{Kind: api.ChangeMachine, ID: machines[i].ID, Record: &machines[i]})
	}
	for i, c := range all {
		at := place{}
		if i == len(all)-1 {
			at.revision = rev
		}
		if err := send(at, c); err != nil {
			return place{}, err
		}
	}
	return place{revision: rev}, nil
}
