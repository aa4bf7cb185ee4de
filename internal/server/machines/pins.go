package machines

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/service"
)

// Pins keeps the images that machines are armed with: `gild image rm` is
// another process, which knows nothing of machines.
type Pins interface {
	// Pin keeps a stored image. One that is not stored MUST be an error that
	// is fs.ErrNotExist.
	Pin(ctx context.Context, image golden.Digest) error
	// KeepPins drops every pin but those of the images.
	KeepPins(ctx context.Context, images []golden.Digest) error
}

// unpinEvery is how long an image is kept at most after the last machine that
// was armed with it.
const unpinEvery = time.Minute

// pin keeps the image of a plan that is about to be armed. The caller holds
// s.arming for reading until it is.
func (s *Core) pin(ctx context.Context, image golden.Digest) error {
	if s.Pins == nil {
		return nil
	}
	return s.Pins.Pin(ctx, image)
}

// KeepPins makes the pins those of the images that machines are armed with
// now.
func (s Upkeep) KeepPins(ctx context.Context) error {
	s.arming.Lock()
	defer s.arming.Unlock()
	machines, _, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	var images []golden.Digest
	for i := range machines {
		m := &machines[i]
		if m.Damaged() {
			return fmt.Errorf("machine %s: %s: no image is let go while that is so", m.ID, m.Message)
		}
		fleet.Lapse(m, s.now())
		if m.Armed != nil {
			images = append(images, golden.Digest(m.Armed.Holds().Digest))
		}
	}
	return s.Pins.KeepPins(ctx, images)
}

// OpenPins keeps the pins as one of the server's services. A sweep at the
// start finds what changed while no server ran; a regular one, rather than one
// at each receipt, is enough and does not read a thousand records a thousand
// times when a rack is done.
func OpenPins(log *slog.Logger) func(context.Context, *Core) (service.Service, func() error, error) {
	return func(_ context.Context, m *Core) (service.Service, func() error, error) {
		run := func(ctx context.Context) error {
			tick := time.NewTicker(unpinEvery)
			defer tick.Stop()
			for {
				if err := m.Upkeep().KeepPins(ctx); err != nil && ctx.Err() == nil {
					log.Warn("finding images that no machine is armed with any more", "err", err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return nil
				}
			}
		}
		return service.Func(run), nil, nil
	}
}
