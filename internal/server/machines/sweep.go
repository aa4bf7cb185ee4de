package machines

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

const (
	// sweepEvery is how often the clock is looked at: with api.StuckAfter it
	// shows a silent machine within 30 s.
	sweepEvery = 2 * time.Second
	// tidyEvery is how often what a crash may have left is looked for.
	tidyEvery = time.Minute
)

// errGone leaves a record that was deleted in the meantime deleted.
var errGone = errors.New("the machine is forgotten")

// sweep lets time pass for the machines: arms lapse, agents fall silent,
// confirmations are overdue. Every server of a cluster does it; the rule makes
// the second time nothing.
func (s Upkeep) sweep(ctx context.Context, log *slog.Logger) {
	tick, tidy := time.NewTicker(sweepEvery), time.NewTicker(tidyEvery)
	defer tick.Stop()
	defer tidy.Stop()
	orphans := map[string]bool{}
	s.checkDiscover(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tidy.C:
			s.checkDiscover(ctx)
			var err error
			if orphans, err = s.sweepIdentities(ctx, orphans); err != nil && ctx.Err() == nil {
				log.Warn("looking for identities of plans that have ended", "err", err)
			}
		case <-tick.C:
			if err := s.forgetStrangers(ctx); err != nil && ctx.Err() == nil {
				log.Warn("forgetting machines that were only seen", "err", err)
			}
			if err := s.sweepOnce(ctx); err != nil && ctx.Err() == nil {
				log.Warn("looking for machines that are overdue", "err", err)
			}
		}
	}
}

// sweepOnce goes through all machines. One that cannot be changed does not keep
// the others from it; a store that does not answer does.
func (s Upkeep) sweepOnce(ctx context.Context) error {
	var failed []error
	for _, m := range s.room.all() {
		if !fleet.Due(m, s.now(), s.room.since()) {
			continue
		}
		_, err := s.change(ctx, m.ID, func(m *fleet.Record) ([]api.Event, error) {
			if m.State == "" { // forgotten in the meantime
				return nil, errGone
			}
			return fleet.Sweep(m, s.now(), s.room.since()), nil
		})
		if err != nil && !errors.Is(err, errGone) {
			failed = append(failed, err)
		}
		if away(err) {
			break
		}
	}
	return errors.Join(failed...)
}

// away reports whether the store does not answer, so that the next record
// would fare no better.
func away(err error) bool {
	_, unavailable := errors.AsType[*keys.UnavailableError](err)
	return unavailable || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
