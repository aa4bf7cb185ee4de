package flash

import (
	"context"
	"fmt"
	"time"
)

// While the source is what everybody waits for, disk and cores have time to
// spare, and the read-back begins with what is there: followBytes at a time,
// looked for every followPause.
const (
	followBytes     = int64(64 << 20)
	liveFollowBytes = int64(8 << 20)
	followPause     = 50 * time.Millisecond
)

// follow proves chunks while later ones still arrive, until all have. On a
// machine that is busy writing it does nothing: the same work would only be
// done in another order, and a disk with heads would have to move them.
func (p *prover) follow(ctx context.Context, landed <-chan struct{}) error {
	t := time.NewTicker(followPause)
	defer t.Stop()
	for {
		select {
		case <-landed:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
		if !p.workers.sourceBound() {
			continue
		}
		least := followBytes
		if p.workers.live() {
			least = liveFollowBytes // a write may wait for them
		}
		list := p.chunks.Proofs.Unproved(int(least / p.table.ChunkSize))
		if len(list) == 0 {
			continue
		}
		side := readers
		if p.workers.throttle.Busy() {
			side = 1
		}
		if err := p.proveNow(ctx, list, side); err != nil {
			return err
		}
	}
}

// proveHurried proves chunks that somebody waits for. It needs nobody but the
// disk, and is not held up by a chunk that has to be fetched again.
func (p *prover) proveHurried(ctx context.Context) error {
	for {
		list := p.chunks.Proofs.Hurried(ctx)
		if len(list) == 0 {
			return context.Cause(ctx)
		}
		if err := p.proveNow(ctx, list, readers); err != nil {
			return err
		}
	}
}

// proveNow proves chunks that were written and not proved yet, so many side by
// side, while other writes are under way.
func (p *prover) proveNow(ctx context.Context, list []int, side int) error {
	// Before the flush the disk's cache would answer for its medium.
	if err := p.medium.disk.Flush(); err != nil {
		return fmt.Errorf("flushing data to be read back: %w", err)
	}
	return p.medium.examine(ctx, list, side, p.chunks.Proofs.Begin, p.proved)
}

// mendAtOnce mends what reads back wrong, whoever has found it.
func (p *prover) mendAtOnce(ctx context.Context) error {
	for {
		claimed := p.chunks.Proofs.ClaimWrong(ctx, true)
		if len(claimed) == 0 {
			return context.Cause(ctx)
		}
		if err := p.mend(ctx, claimed); err != nil {
			return err
		}
	}
}

// sourceBound reports whether the workers spend most of their time waiting
// for the source.
func (w *workers) sourceBound() bool {
	return w.fetching.perSecond() > 0 && 2*w.waited.Load() > w.fetching.nanos.Load()
}
