package flash

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// sampleEvery is the distance of the chunks that VerifySample reads back.
const sampleEvery = 100

// prover proves that the medium holds what was written, and has mended what it
// does not hold.
type prover struct {
	table   *golden.Table
	chunks  *chunks.Map
	held    *heldChunks
	medium  *medium
	workers *workers
	menders int // side by side
	meter   *meter
	verify  Verify
}

// readBack reads back what Verify asks for, and mends it.
func (p *prover) readBack(ctx context.Context) error {
	if err := p.prove(ctx, p.due()); err != nil {
		return err
	}
	return p.mendAll(ctx)
}

// due lists what Verify asks for. Held chunks are not on the disk yet, and what
// is verified was read from the medium already, after the last write that could
// have gone astray.
func (p *prover) due() []int {
	var list []int
	for _, i := range p.onDisk() {
		if p.chunks.Proofs.Final(i) {
			continue
		}
		if p.verify.asks(i) {
			list = append(list, i)
		}
	}
	return list
}

// asks reports whether chunk i is to be read back.
func (v Verify) asks(i int) bool {
	return v == VerifyFull || v == VerifySample && i%sampleEvery == 0
}

// prove reads the chunks back, those that were proved before once more. What is
// wrong is then to be mended.
func (p *prover) prove(ctx context.Context, list []int) error {
	p.meter.expect(bytesOf(p.table, list))
	p.meter.ledger.ExpectProofs(list)
	begin := func(i int) bool {
		_, length := p.table.Extent(i)
		p.meter.done.Add(length)
		if p.chunks.Proofs.BeginAgain(i) {
			return true
		}
		p.meter.ledger.Proved(i) // the system's own
		return false
	}
	return p.medium.examine(ctx, list, readers, begin, p.proved)
}

// proved takes note of what chunk i reads back as.
func (p *prover) proved(i int, right bool) error {
	if p.chunks.Proofs.Proved(i, right) {
		off, length := p.table.Extent(i)
		return fmt.Errorf("%d bytes at byte %d of the disk read back wrong twice: %w", length, off, ErrMedium)
	}
	if right {
		p.meter.ledger.Proved(i)
	}
	return nil
}

// mend writes chunks again that read back wrong, and reads them back: disks do
// remap a bad sector on the second write.
func (p *prover) mend(ctx context.Context, claimed []int) error {
	p.meter.repaired.Add(int64(len(claimed)))
	if err := p.rewrite(ctx, claimed); err != nil {
		return err
	}
	return p.medium.examine(ctx, claimed, readers, anyChunk, p.proved)
}

// mendAll mends until nothing is wrong. Where a write went astray it may have
// hit a chunk that was proved before, so every chunk is read back after that,
// whatever Verify says.
func (p *prover) mendAll(ctx context.Context) error {
	proofs := p.chunks.Proofs
	for {
		for claimed := proofs.ClaimWrong(ctx, false); len(claimed) > 0; claimed = proofs.ClaimWrong(ctx, false) {
			if err := p.mend(ctx, claimed); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !proofs.TakeAstray() {
			return nil
		}
		if err := p.prove(ctx, p.onDisk()); err != nil {
			return err
		}
	}
}

// proveAll reads back whatever the disk should hold, and mends it.
func (p *prover) proveAll(ctx context.Context) error {
	if err := p.prove(ctx, p.onDisk()); err != nil {
		return err
	}
	return p.mendAll(ctx)
}

// onDisk lists the chunks that the disk should hold by now: all but those that
// wait for the seal, and those that a system has made its own.
func (p *prover) onDisk() []int {
	var list []int
	for i := range p.table.Len() {
		if !p.held.holds(i) && p.chunks.Get(i) != chunks.Owned {
			list = append(list, i)
		}
	}
	return list
}

// rewrite fetches and writes chunks again, as plain bytes even where they are
// zeros: the way that failed is not taken twice.
func (p *prover) rewrite(ctx context.Context, list []int) error {
	next := counter(list)
	g, gctx := errgroup.WithContext(ctx)
	for range min(p.menders, len(list)) {
		g.Go(func() error {
			return p.workers.work(func(w *worker) error {
				for i, ok := next(); ok; i, ok = next() {
					raw, err := w.refetch(gctx, i, badFrames)
					if err != nil {
						return err
					}
					off, _ := p.table.Extent(i)
					if err := blockdev.WriteFull(p.medium.disk, raw, off); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.medium.disk.Flush(); err != nil {
		return fmt.Errorf("flushing rewritten data: %w", err)
	}
	return nil
}
