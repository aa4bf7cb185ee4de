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
func (f *Flight) follow(ctx context.Context, landed <-chan struct{}) error {
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
		if !f.sourceBound() {
			continue
		}
		least := followBytes
		if f.Move != nil {
			least = liveFollowBytes // a write may wait for them
		}
		chunks := f.chunks.Proofs.Unproved(int(least / f.table.ChunkSize))
		if len(chunks) == 0 {
			continue
		}
		// Before the flush the disk's cache would answer for its medium.
		if err := f.Disk.Flush(); err != nil {
			return fmt.Errorf("flushing data to be read back: %w", err)
		}
		side := readers
		if f.busy() {
			side = 1
		}
		if err := f.examine(ctx, chunks, side, f.chunks.Proofs.Begin, f.proved); err != nil {
			return err
		}
	}
}

// sourceBound reports whether the workers spend most of their time waiting
// for the source.
func (f *Flight) sourceBound() bool {
	return f.survey.fetching.perSecond() > 0 && 2*f.waited.Load() > f.survey.fetching.nanos.Load()
}
