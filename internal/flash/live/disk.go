// Package live is a disk as a system sees it that runs from it while the image
// still arrives.
package live

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// Config is what a Disk is made of.
type Config struct {
	Table  *golden.Table
	Chunks *chunks.Map
	// Disk is written to, Medium read from, past every cache.
	Disk interface {
		io.WriterAt
		Size() int64
		SectorSize() int
		Flush() error
	}
	Medium io.ReaderAt
	// Held is what is in memory until the disk is sealed, sorted by offset.
	Held []blockdev.Extent
	// Trusting takes what was written for proved.
	Trusting bool
	Throttle *Throttle
	Recent   *Recent
	// Look reads chunk i from the medium. If it is right there, its bytes are
	// lent to use.
	Look func(i int, use func(raw []byte)) (right bool, err error)
	// Overwritten is called for each chunk of which nothing has to be brought
	// any more, because the system has written all of it.
	Overwritten func(i int)
}

// Disk looks as if it had held the image from the start, with the partition
// table fitted to it. Reads of what is not there wait until it was fetched,
// which then comes first; writes of whole sectors go to the disk at once. What
// is held back for the seal is served from memory, so that the system sees
// LBA 0 as it will be while the disk's own stays zero. All methods may be
// called by many.
type Disk struct {
	ctx context.Context // of the flight
	is  Config

	// settling is held by Settle, and shared by all that reads and writes.
	settling sync.RWMutex
	settled  bool

	mu sync.RWMutex // of the bytes in is.Held
}

// New makes a live disk. What waits on it gives up when ctx is done.
func New(ctx context.Context, c Config) *Disk { return &Disk{ctx: ctx, is: c} }

// Size is the disk's, in bytes.
func (d *Disk) Size() int64 { return d.is.Disk.Size() }

// SectorSize is the disk's, in bytes.
func (d *Disk) SectorSize() int { return d.is.Disk.SectorSize() }

// Flush makes what was written safe, as far as the disk has it. What is in
// memory is lost with the power, as the whole of an unsealed disk is.
func (d *Disk) Flush() error { return d.is.Disk.Flush() }

// ErrMoved is what a write fails with after Settle.
var ErrMoved = errors.New("the system has moved to the disk itself")

var errNotSectors = errors.New("no whole sectors of the disk")

// ReadAt implements io.ReaderAt. It reads all of p or fails.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > d.Size()-off {
		return 0, errNotSectors
	}
	d.settling.RLock()
	defer d.settling.RUnlock()
	return len(p), d.each(p, off, d.readPart)
}

// WriteAt implements io.WriterAt for whole sectors. It writes all of p, or
// fails and may have written a part.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	sector := int64(d.SectorSize())
	if off < 0 || int64(len(p)) > d.Size()-off || off%sector != 0 || int64(len(p))%sector != 0 {
		return 0, errNotSectors
	}
	d.settling.RLock()
	defer d.settling.RUnlock()
	if d.settled {
		return 0, ErrMoved
	}
	return len(p), d.each(p, off, d.writePart)
}

// Settle ends the writes: they fail from now on, and write is given what was
// held in memory as the system has left it. No read is under way meanwhile.
func (d *Disk) Settle(write func(held []blockdev.Extent) error) error {
	d.settling.Lock()
	defer d.settling.Unlock()
	d.settled = true
	return write(d.is.Held)
}

// part is a piece of the disk that is one thing: held, a chunk, or neither.
type part struct {
	held  *blockdev.Extent
	chunk int // -1 for none
	off   int64
}

// each cuts a range into its parts.
func (d *Disk) each(p []byte, off int64, do func(part, []byte) error) error {
	for len(p) > 0 {
		at, end := d.partAt(off)
		n := min(int64(len(p)), end-off)
		if err := do(at, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// partAt returns what is at off, and where that ends.
func (d *Disk) partAt(off int64) (at part, end int64) {
	at, end = part{chunk: -1, off: off}, d.Size()
	held := d.is.Held
	k, _ := slices.BinarySearchFunc(held, off, func(e blockdev.Extent, off int64) int { return cmp.Compare(e.End(), off+1) })
	if k < len(held) {
		if e := &held[k]; e.Offset <= off {
			at.held = e
			return at, e.End()
		}
		end = held[k].Offset
	}
	if off < d.is.Table.DiskSize {
		at.chunk = int(off / d.is.Table.ChunkSize)
		start, length := d.is.Table.Extent(at.chunk)
		end = min(end, start+length)
	}
	return at, end
}

// sectors returns the sectors of a chunk that n bytes from off on touch.
func (d *Disk) sectors(off int64, n int) (a, b int) {
	sector := int64(d.SectorSize())
	return int(off / sector), int((off + int64(n) + sector - 1) / sector)
}

// Await returns when a read of n bytes from off on has nothing more to wait for
// than the disk.
func (d *Disk) Await(off, n int64) error {
	for end := off + n; off < end; {
		at, next := d.partAt(off)
		n := min(end, next) - off
		for at.held == nil && at.chunk >= 0 {
			if _, answer := d.readable(at, int(n)); answer != chunks.NotYet {
				break
			}
			if err := d.want(at.chunk); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}

// readable says how a read of n bytes of a chunk's part is answered, and where
// in the chunk they begin.
func (d *Disk) readable(at part, n int) (from int64, answer chunks.Answer) {
	start, _ := d.is.Table.Extent(at.chunk)
	from = at.off - start
	a, b := d.sectors(from, n)
	return from, d.is.Chunks.System.Readable(at.chunk, a, b, d.is.Trusting)
}

func (d *Disk) readPart(at part, p []byte) error {
	if at.held != nil {
		d.mu.RLock()
		defer d.mu.RUnlock()
		copy(p, at.held.Data[at.off-at.held.Offset:])
		return nil
	}
	if at.chunk < 0 {
		return blockdev.ReadFull(d.is.Medium, p, at.off)
	}
	for {
		from, answer := d.readable(at, len(p))
		switch answer {
		case chunks.Medium:
			return blockdev.ReadFull(d.is.Medium, p, at.off)
		case chunks.Zeros:
			clear(p)
			return nil
		case chunks.Landed:
			if ok, err := d.readLanded(at.chunk, p, from); ok || err != nil {
				return err
			}
		case chunks.NotYet:
			if err := d.want(at.chunk); err != nil {
				return err
			}
		}
	}
}

// readLanded reads from a chunk that was written but not proved: from memory,
// or from the medium if the whole of the chunk is right there, which one reader
// finds out for all. ok is false when the chunk has come further meanwhile.
func (d *Disk) readLanded(i int, p []byte, at int64) (ok bool, err error) {
	if d.is.Recent.read(i, p, at) {
		return true, nil
	}
	system := d.is.Chunks.System
	if !system.BeginLook(d.ctx, i) {
		return false, context.Cause(d.ctx)
	}
	right, err := d.is.Look(i, func(raw []byte) { copy(p, raw[at:]) })
	system.EndLook(i, right)
	if err != nil || right {
		return right, err
	}
	// Wrong bytes, or a write of the system that came first.
	return false, d.is.Chunks.Proofs.Wait(d.ctx, i)
}

func (d *Disk) writePart(at part, p []byte) error {
	if at.held != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		copy(at.held.Data[at.off-at.held.Offset:], p)
		return nil
	}
	if at.chunk < 0 {
		return blockdev.WriteFull(d.is.Disk, p, at.off)
	}
	start, length := d.is.Table.Extent(at.chunk)
	system := d.is.Chunks.System
	_, all := d.sectors(0, int(length))
	if err := system.BeginWrite(d.ctx, at.chunk, all, d.is.Trusting); err != nil {
		return err
	}
	err := blockdev.WriteFull(d.is.Disk, p, at.off)
	a, b := d.sectors(at.off-start, len(p))
	if system.EndWrite(at.chunk, a, b, err == nil) {
		d.is.Overwritten(at.chunk)
	}
	return err
}

// want brings chunk i before all others.
func (d *Disk) want(i int) error {
	ahead, met := d.is.Throttle.demand(i, d.is.Table.Len())
	defer met()
	if ahead != nil {
		d.is.Chunks.Work.Foresee(ahead)
	}
	return d.is.Chunks.Work.Demand(d.ctx, i)
}
