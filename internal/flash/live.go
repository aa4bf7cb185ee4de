package flash

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/live"
)

// recentBytes is how much of what was demanded stays in memory until it was
// proved.
const recentBytes = 8 << 20

// Live waits until the flight can serve the disk, which is moments after it
// began. It fails when the flight has ended before.
func (f *Flight) Live(ctx context.Context) (*live.Disk, error) {
	select {
	case <-f.ready:
		return f.live, nil
	case <-f.over:
		return nil, errors.New("the flash ended before the disk could be used")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// goLive opens the disk to the system. What is held back is in memory by now:
// see rehearse.
func (f *Flight) goLive(ctx context.Context) error {
	held, err := f.layout.final()
	if err != nil {
		return err
	}
	if f.back, err = f.medium.open(); err != nil {
		return err
	}
	f.throttle.Begin(time.Now())
	f.live = live.New(ctx, f.liveConfig(held))
	f.serve(ctx, f.prover.proveHurried)
	f.serve(ctx, f.prover.mendAtOnce)
	close(f.ready)
	return nil
}

// liveConfig is what the disk that the system sees is made of.
func (f *Flight) liveConfig(held []blockdev.Extent) live.Config {
	return live.Config{
		Table: f.table, Chunks: f.chunks, Disk: f.medium.disk, Medium: f.back, Held: held,
		Trusting: f.job.Verify != VerifyFull, Throttle: f.throttle, Recent: f.recent,
		Look:        func(i int, use func([]byte)) (bool, error) { return f.medium.lend(f.back, i, use) },
		Overwritten: f.overwritten,
	}
}

// overwritten takes note of a chunk that the system has made its own.
func (f *Flight) overwritten(i int) {
	_, length := f.table.Extent(i)
	f.meter.done.Add(length)
	f.meter.ledger.Overwritten(i)
}

// serve runs do beside the flight, until the system has moved: what do does the
// system waits for.
func (f *Flight) serve(ctx context.Context, do func(context.Context) error) {
	f.serving.Go(func() error {
		err := do(ctx)
		if err != nil && ctx.Err() == nil {
			f.fail(err)
		}
		return err
	})
}

// sealLive brings the system onto the disk, and seals it. What the system has
// written is nobody's to prove, so after the move only LBA 0 is written.
func (f *Flight) sealLive(ctx context.Context) error {
	defer f.back.Close()
	var gate []blockdev.Extent
	settle := func() error {
		return f.live.Settle(func(held []blockdev.Extent) (err error) {
			gate, err = f.settle(ctx, held)
			return err
		})
	}
	if err := f.job.Move(ctx, settle); err != nil {
		return fmt.Errorf("moving the system onto its disk: %w", err)
	}
	if gate == nil {
		return errors.New("moving the system onto its disk: what was held back was not written")
	}
	if err := f.medium.writeProven(ctx, gate, func() error { return f.medium.closeGate(ctx) }); err != nil {
		return fmt.Errorf("writing LBA 0: %w", errors.Join(err, f.medium.closeGate(ctx)))
	}
	return nil
}

// settle writes everything that is in memory but LBA 0, which it returns. No
// write of the system comes any more.
func (f *Flight) settle(ctx context.Context, held []blockdev.Extent) (gate []blockdev.Extent, err error) {
	// Nobody waits for a proof any more, and none may be under way in the seal.
	f.chunks.Proofs.Dismiss()
	if err := f.serving.Wait(); err != nil {
		return nil, err
	}
	if err := f.prover.mendAll(ctx); err != nil {
		return nil, err
	}
	gate, rest := cutGate(held, f.job.Disk.SectorSize())
	if err := f.medium.writeProven(ctx, rest, func() error { return f.prover.proveAll(ctx) }); err != nil {
		return nil, fmt.Errorf("writing head and backup table: %w", err)
	}
	if err := f.medium.disk.Flush(); err != nil {
		return nil, fmt.Errorf("flushing: %w", err)
	}
	return gate, nil
}
