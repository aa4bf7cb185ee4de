package flash

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
)

// extent is a run of bytes to be written at an offset of the disk.
type extent struct {
	off  int64
	data []byte
}

func (e extent) end() int64 { return e.off + int64(len(e.data)) }

// seal writes what was held back: first all but LBA 0, then, once that is on
// the medium, LBA 0. What is behind the image, its backup table, comes after
// what is in it: see keep.go.
func (f *Flight) seal(ctx context.Context) error {
	if f.Move != nil {
		return f.sealLive(ctx)
	}
	extents, err := f.finalExtents()
	if err != nil {
		return err
	}
	sector := f.Disk.SectorSize()
	// Sorted by offset, so the first extent begins with LBA 0.
	gate := []extent{{0, extents[0].data[:sector]}}
	extents[0] = extent{int64(sector), extents[0].data[sector:]}
	parts := [][]extent{extents}
	if len(f.Keep) > 0 {
		behind := slices.IndexFunc(extents, func(e extent) bool { return e.off >= f.table.DiskSize })
		parts = [][]extent{extents[:behind], extents[behind:]}
	}
	body := func() error {
		for _, p := range parts {
			if err := f.writeProven(ctx, p, func() error { return f.proveAll(ctx) }); err != nil {
				return err
			}
		}
		return nil
	}
	if err := body(); err != nil {
		return fmt.Errorf("writing head and backup table: %w", err)
	}
	err = f.writeProven(ctx, gate, func() error {
		if err := f.closeGate(ctx); err != nil {
			return err
		}
		if err := f.proveAll(ctx); err != nil {
			return err
		}
		return body()
	})
	if err != nil {
		// Whatever LBA 0 holds now, the flash is not known to be good.
		return fmt.Errorf("writing LBA 0: %w", errors.Join(err, f.closeGate(ctx)))
	}
	return nil
}

// finalExtents are the held chunks with the partition table fitted to this
// disk, and the backup table at the disk's real end; sorted by offset.
func (f *Flight) finalExtents() ([]extent, error) {
	var extents []extent
	for _, i := range slices.Sorted(maps.Keys(f.held.raw)) {
		off, _ := f.table.Extent(i)
		extents = append(extents, extent{off, f.held.raw[i]})
	}
	if f.Image.Config.Disk.Scheme == "gpt" {
		plan, err := f.fitted()
		if err != nil {
			return nil, err
		}
		for _, e := range plan.Edits {
			extents = overlay(extents, extent{e.Offset, e.Data})
		}
	}
	slices.SortFunc(extents, func(a, b extent) int { return cmp.Compare(a.off, b.off) })
	return extents, nil
}

// fitted plans the image's tables as they are on this disk.
func (f *Flight) fitted() (*partition.Plan, error) {
	var image heldReader
	for i, raw := range f.held.raw {
		off, _ := f.table.Extent(i)
		image = append(image, extent{off, raw})
	}
	slices.SortFunc(image, func(a, b extent) int { return cmp.Compare(a.off, b.off) })
	plan, err := partition.MoveBackup(image, f.table.DiskSize, f.Disk.Size(), f.Disk.SectorSize(), f.Keep...)
	if err != nil {
		return nil, fmt.Errorf("fitting the partition table to the disk: %w", err)
	}
	return plan, nil
}

// overlay puts e over the extents: bytes that one of them covers are changed
// in place, and what is left of e becomes extents of its own.
func overlay(extents []extent, e extent) []extent {
	for _, under := range extents {
		from, to := max(e.off, under.off), min(e.end(), under.end())
		if from >= to {
			continue
		}
		copy(under.data[from-under.off:to-under.off], e.data[from-e.off:to-e.off])
		if from > e.off {
			extents = overlay(extents, extent{e.off, e.data[:from-e.off]})
		}
		if to < e.end() {
			extents = overlay(extents, extent{to, e.data[to-e.off:]})
		}
		return extents
	}
	data := blockdev.AlignedBuffer(len(e.data))
	copy(data, e.data)
	return append(extents, extent{e.off, data})
}

// writeProven makes the medium hold the extents. It writes only those that it
// reads back wrong: a write that goes astray then always shows at the place
// where it was to go. Bytes that are wrong after they were written may be
// anywhere, so astray is called to find what they hit before they are written
// once more.
func (f *Flight) writeProven(ctx context.Context, extents []extent, astray func() error) error {
	for attempt := 0; ; attempt++ {
		wrong, err := f.wrongExtents(extents)
		if err != nil || len(wrong) == 0 {
			return err
		}
		if attempt > 1 {
			return fmt.Errorf("byte %d and following of the disk read back other than written, twice: %w", wrong[0].off, ErrMedium)
		}
		if attempt == 1 {
			f.meter.repaired.Add(1)
			if err := astray(); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		for _, e := range wrong {
			if err := writeFull(f.Disk, e.data, e.off); err != nil {
				return err
			}
		}
		if err := f.Disk.Flush(); err != nil {
			return fmt.Errorf("flushing: %w", err)
		}
	}
}

// wrongExtents returns those that the medium does not hold.
func (f *Flight) wrongExtents(extents []extent) ([]extent, error) {
	medium, err := f.openMedium()
	if err != nil {
		return nil, err
	}
	defer medium.Close()
	buf := f.buffers.get()
	defer f.buffers.put(buf)
	var wrong []extent
	for _, e := range extents {
		right, err := e.isOn(medium, buf)
		if err != nil {
			return nil, err
		}
		if !right {
			wrong = append(wrong, e)
		}
	}
	return wrong, nil
}

// isOn compares the extent with the medium, as much at a time as buf holds.
func (e extent) isOn(medium io.ReaderAt, buf []byte) (bool, error) {
	for at := 0; at < len(e.data); at += len(buf) {
		want := e.data[at:min(at+len(buf), len(e.data))]
		got := buf[:len(want)]
		if err := readFull(medium, got, e.off+int64(at)); err != nil {
			return false, err
		}
		if !bytes.Equal(got, want) {
			return false, nil
		}
	}
	return true, nil
}

// heldReader reads the image as far as it is held: head and tail.
type heldReader []extent

func (h heldReader) ReadAt(p []byte, off int64) (int, error) {
	var n int
	for _, e := range h {
		at := off + int64(n)
		if at >= e.off && at < e.end() {
			n += copy(p[n:], e.data[at-e.off:])
		}
		if n == len(p) {
			return n, nil
		}
	}
	return n, io.ErrUnexpectedEOF
}
