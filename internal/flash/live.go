package flash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
)

// Live is the disk as a system sees it that runs from it while it is written:
// as if it had held the image from the start, with the partition table fitted
// to it. Reads of what is not there wait until it was fetched, which then comes
// first; writes of whole sectors go to the disk at once. What is held back for
// the seal is served from memory, so that the system sees LBA 0 as it will be
// while the disk's own stays zero. All methods may be called by many.
type Live struct {
	*Flight
	ctx    context.Context // of the flight
	medium blockdev.ReadBack

	// settling is held by settle, and shared by all that reads and writes.
	settling sync.RWMutex
	settled  bool

	mu   sync.RWMutex // of the bytes in held
	held []extent     // sorted; in memory until the seal
}

// Live waits until the flight can serve the disk, which is moments after it
// began. It fails when the flight has ended before.
func (f *Flight) Live(ctx context.Context) (*Live, error) {
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
	held, err := f.finalExtents()
	if err != nil {
		return err
	}
	medium, err := f.openMedium()
	if err != nil {
		return err
	}
	f.demand.begin(time.Now())
	f.live = &Live{Flight: f, ctx: ctx, medium: medium, held: held}
	f.serve(ctx, f.proveHurried)
	f.serve(ctx, f.mendAtOnce)
	close(f.ready)
	return nil
}

// Size is the disk's, in bytes.
func (l *Live) Size() int64 { return l.Disk.Size() }

// SectorSize is the disk's, in bytes.
func (l *Live) SectorSize() int { return l.Disk.SectorSize() }

// Flush makes what was written safe, as far as the disk has it. What is in
// memory is lost with the power, as the whole of an unsealed disk is.
func (l *Live) Flush() error { return l.Disk.Flush() }

var (
	errNotSectors = errors.New("no whole sectors of the disk")
	errMoved      = errors.New("the system has moved to the disk itself")
)

// ReadAt implements io.ReaderAt. It reads all of p or fails.
func (l *Live) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > l.Size()-off {
		return 0, errNotSectors
	}
	l.settling.RLock()
	defer l.settling.RUnlock()
	return len(p), l.each(p, off, l.readPart)
}

// WriteAt implements io.WriterAt for whole sectors. It writes all of p, or
// fails and may have written a part.
func (l *Live) WriteAt(p []byte, off int64) (int, error) {
	sector := int64(l.SectorSize())
	if off < 0 || int64(len(p)) > l.Size()-off || off%sector != 0 || int64(len(p))%sector != 0 {
		return 0, errNotSectors
	}
	l.settling.RLock()
	defer l.settling.RUnlock()
	if l.settled {
		return 0, errMoved
	}
	return len(p), l.each(p, off, l.writePart)
}

// part is a piece of the disk that is one thing: held, a chunk, or neither.
type part struct {
	held  *extent
	chunk int // -1 for none
	off   int64
}

// each cuts a range into its parts.
func (l *Live) each(p []byte, off int64, do func(part, []byte) error) error {
	for len(p) > 0 {
		at, end := l.partAt(off)
		n := min(int64(len(p)), end-off)
		if err := do(at, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// partAt returns what is at off, and where that ends.
func (l *Live) partAt(off int64) (at part, end int64) {
	at, end = part{chunk: -1, off: off}, l.Size()
	k, _ := slices.BinarySearchFunc(l.held, off, func(e extent, off int64) int { return cmp.Compare(e.end(), off+1) })
	if k < len(l.held) {
		if e := &l.held[k]; e.off <= off {
			at.held = e
			return at, e.end()
		}
		end = l.held[k].off
	}
	if off < l.table.DiskSize {
		at.chunk = int(off / l.table.ChunkSize)
		start, length := l.table.Extent(at.chunk)
		end = min(end, start+length)
	}
	return at, end
}

// Await returns when a read of n bytes from off on has nothing more to wait for
// than the disk.
func (l *Live) Await(off, n int64) error {
	for end := off + n; off < end; {
		at, next := l.partAt(off)
		n := min(end, next) - off
		for at.held == nil && at.chunk >= 0 {
			start, _ := l.table.Extent(at.chunk)
			a, b := l.sectors(off-start, int(n))
			if l.chunks.System.Readable(at.chunk, a, b, l.Verify != VerifyFull) != chunks.NotYet {
				break
			}
			if err := l.want(at.chunk); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}

func (l *Live) readPart(at part, p []byte) error {
	if at.held != nil {
		l.mu.RLock()
		defer l.mu.RUnlock()
		copy(p, at.held.data[at.off-at.held.off:])
		return nil
	}
	if at.chunk < 0 {
		return readFull(l.medium, p, at.off)
	}
	start, _ := l.table.Extent(at.chunk)
	a, b := l.sectors(at.off-start, len(p))
	for {
		switch l.chunks.System.Readable(at.chunk, a, b, l.Verify != VerifyFull) {
		case chunks.Medium:
			return readFull(l.medium, p, at.off)
		case chunks.Zeros:
			clear(p)
			return nil
		case chunks.Landed:
			if ok, err := l.readLanded(at.chunk, p, at.off-start); ok || err != nil {
				return err
			}
		case chunks.NotYet:
			if err := l.want(at.chunk); err != nil {
				return err
			}
		}
	}
}

// sectors returns the sectors that n bytes from off on touch.
func (l *Live) sectors(off int64, n int) (a, b int) {
	sector := int64(l.SectorSize())
	return int(off / sector), int((off + int64(n) + sector - 1) / sector)
}

// readLanded reads from a chunk that was written but not proved: from memory,
// or from the medium if the whole of the chunk is right there, which one reader
// finds out for all. ok is false when the chunk has come further meanwhile.
func (l *Live) readLanded(i int, p []byte, at int64) (ok bool, err error) {
	if l.lately.read(i, p, at) {
		return true, nil
	}
	if !l.chunks.System.BeginLook(l.ctx, i) {
		return false, context.Cause(l.ctx)
	}
	buf := l.buffers.get()
	defer l.buffers.put(buf)
	right, err := l.holds(l.medium, i, buf)
	l.chunks.System.EndLook(i, right)
	if err != nil {
		return false, err
	}
	if !right {
		// Wrong bytes, or a write of the system that came first.
		return false, l.chunks.Proofs.Wait(l.ctx, i)
	}
	copy(p, buf[at:])
	return true, nil
}

func (l *Live) writePart(at part, p []byte) error {
	if at.held != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		copy(at.held.data[at.off-at.held.off:], p)
		return nil
	}
	if at.chunk < 0 {
		return writeFull(l.Disk, p, at.off)
	}
	start, length := l.table.Extent(at.chunk)
	_, all := l.sectors(0, int(length))
	if err := l.chunks.System.BeginWrite(l.ctx, at.chunk, all, l.Verify != VerifyFull); err != nil {
		return err
	}
	err := writeFull(l.Disk, p, at.off)
	a, b := l.sectors(at.off-start, len(p))
	if l.chunks.System.EndWrite(at.chunk, a, b, err == nil) {
		l.meter.done.Add(length)
	}
	return err
}

// layAround writes those bytes of chunk i that are not the system's own, and
// proves them at once: later nobody could tell what they should be.
func (f *Flight) layAround(i int, raw []byte, own *chunks.Sectors) error {
	off, _ := f.table.Extent(i)
	var parts []extent
	sector := f.Disk.SectorSize()
	for from, to := range own.Others() {
		parts = append(parts, extent{off + int64(from*sector), raw[from*sector : to*sector]})
	}
	for range 2 {
		for _, e := range parts {
			if err := writeFull(f.Disk, e.data, e.off); err != nil {
				return err
			}
		}
		if f.Verify == VerifyOff || len(parts) == 0 {
			return nil
		}
		if err := f.Disk.Flush(); err != nil {
			return fmt.Errorf("flushing the rest of chunk %d: %w", i, err)
		}
		wrong, err := f.wrongExtents(parts)
		if err != nil || len(wrong) == 0 {
			return err
		}
		f.meter.repaired.Add(1)
		f.chunks.Proofs.Strayed()
		parts = wrong
	}
	return fmt.Errorf("byte %d and following of the disk read back other than written, twice: %w", parts[0].off, ErrMedium)
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

// proveHurried proves chunks that somebody waits for. It needs nobody but the
// disk, and is not held up by a chunk that has to be fetched again.
func (f *Flight) proveHurried(ctx context.Context) error {
	for {
		chunks := f.chunks.Proofs.Hurried(ctx)
		if len(chunks) == 0 {
			return context.Cause(ctx)
		}
		if err := f.Disk.Flush(); err != nil {
			return fmt.Errorf("flushing data to be read back: %w", err)
		}
		if err := f.examine(ctx, chunks, readers, f.chunks.Proofs.Begin, f.proved); err != nil {
			return err
		}
	}
}

// mendAtOnce mends what reads back wrong, whoever has found it.
func (f *Flight) mendAtOnce(ctx context.Context) error {
	for {
		claimed := f.chunks.Proofs.ClaimWrong(ctx, true)
		if len(claimed) == 0 {
			return context.Cause(ctx)
		}
		if err := f.mend(ctx, claimed); err != nil {
			return err
		}
	}
}

// sealLive brings the system onto the disk, and seals it. What the system has
// written is nobody's to prove, so after the move only LBA 0 is written.
func (f *Flight) sealLive(ctx context.Context) error {
	defer f.live.medium.Close()
	if err := f.Move(ctx, func() error { return f.live.settle(ctx) }); err != nil {
		return fmt.Errorf("moving the system onto its disk: %w", err)
	}
	if !f.live.settled {
		return errors.New("moving the system onto its disk: what was held back was not written")
	}
	gate := []extent{{0, f.live.held[0].data[:f.Disk.SectorSize()]}}
	if err := f.writeProven(ctx, gate, func() error { return f.closeGate(ctx) }); err != nil {
		return fmt.Errorf("writing LBA 0: %w", errors.Join(err, f.closeGate(ctx)))
	}
	return nil
}

// settle writes everything that is in memory but LBA 0. No write comes through
// l any more.
func (l *Live) settle(ctx context.Context) error {
	l.settling.Lock()
	defer l.settling.Unlock()
	l.settled = true
	// Nobody waits for a proof any more, and none may be under way in the seal.
	l.chunks.Proofs.Dismiss()
	if err := l.serving.Wait(); err != nil {
		return err
	}
	if err := l.mendAll(ctx); err != nil {
		return err
	}
	extents := slices.Clone(l.held)
	sector := l.SectorSize()
	extents[0] = extent{int64(sector), extents[0].data[sector:]}
	if err := l.writeProven(ctx, extents, func() error { return l.proveAll(ctx) }); err != nil {
		return fmt.Errorf("writing head and backup table: %w", err)
	}
	if err := l.Disk.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	return nil
}

// tireless is a job whose source is never given up: a running system waits.
func tireless(job Job) Job {
	job.Retry.Patience = -1
	return job
}
