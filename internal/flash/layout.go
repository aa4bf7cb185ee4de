package flash

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// heldBytes is how much of the image's head and of its tail waits in memory
// until the seal. Both GPTs lie within it: the entries of the largest table
// that partition accepts end well before.
const heldBytes = 1 << 20

// heldChunks are the chunks that are written last. Without the head no
// firmware and no kernel finds anything on the disk, and a head that came
// early would be there before what it points at.
type heldChunks struct {
	raw map[int][]byte // by chunk; filled by one worker each
}

func newHeldChunks(t *golden.Table, sector int) *heldChunks {
	h := &heldChunks{raw: map[int][]byte{}}
	for i := range t.Len() {
		off, length := t.Extent(i)
		if off < max(heldBytes, int64(sector)) || off+length > t.DiskSize-heldBytes {
			h.raw[i] = blockdev.AlignedBuffer(int(length))
		}
	}
	return h
}

func (h *heldChunks) holds(i int) bool {
	_, ok := h.raw[i]
	return ok
}

// take keeps a copy of the chunk if it is one to be held.
func (h *heldChunks) take(i int, raw []byte) bool {
	buf, ok := h.raw[i]
	if ok {
		copy(buf, raw)
	}
	return ok
}

// extents are the held chunks, sorted by offset. Their bytes are not copied.
func (h *heldChunks) extents(t *golden.Table) (extents []blockdev.Extent) {
	for _, i := range slices.Sorted(maps.Keys(h.raw)) {
		off, _ := t.Extent(i)
		extents = append(extents, blockdev.Extent{Offset: off, Data: h.raw[i]})
	}
	return extents
}

// layout is what the ends of the disk become: what is held, with the image's
// tables fitted to the disk.
type layout struct {
	image  *golden.Image
	held   *heldChunks
	size   int64 // of the disk, bytes
	sector int
	keep   []partition.Entry
}

// gpt reports whether there are tables to be fitted.
func (l *layout) gpt() bool { return l.image.Config.Disk.Scheme == "gpt" }

// final are the held chunks with the partition table fitted to this disk, and
// the backup table at the disk's real end; sorted by offset.
func (l *layout) final() ([]blockdev.Extent, error) {
	extents := l.held.extents(l.image.Table)
	if l.gpt() {
		plan, err := l.fitted()
		if err != nil {
			return nil, err
		}
		for _, e := range plan.Edits {
			extents = overlay(extents, blockdev.Extent{Offset: e.Offset, Data: e.Data})
		}
	}
	slices.SortFunc(extents, func(a, b blockdev.Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	return extents, nil
}

// fitted plans the image's tables as they are on this disk.
func (l *layout) fitted() (*partition.Plan, error) {
	held := heldReader(l.held.extents(l.image.Table))
	plan, err := partition.MoveBackup(held, l.image.Table.DiskSize, l.size, l.sector, l.keep...)
	if err != nil {
		return nil, fmt.Errorf("fitting the partition table to the disk: %w", err)
	}
	return plan, nil
}

// overlay puts e over the extents: bytes that one of them covers are changed
// in place, and what is left of e becomes extents of its own.
func overlay(extents []blockdev.Extent, e blockdev.Extent) []blockdev.Extent {
	for _, under := range extents {
		from, to := max(e.Offset, under.Offset), min(e.End(), under.End())
		if from >= to {
			continue
		}
		copy(under.Data[from-under.Offset:to-under.Offset], e.Data[from-e.Offset:to-e.Offset])
		if from > e.Offset {
			extents = overlay(extents, blockdev.Extent{Offset: e.Offset, Data: e.Data[:from-e.Offset]})
		}
		if to < e.End() {
			extents = overlay(extents, blockdev.Extent{Offset: to, Data: e.Data[to-e.Offset:]})
		}
		return extents
	}
	return append(extents, blockdev.Extent{Offset: e.Offset, Data: aligned(e.Data)})
}

// aligned is a copy of p as the disk wants it.
func aligned(p []byte) []byte {
	data := blockdev.AlignedBuffer(len(p))
	copy(data, p)
	return data
}

// cutGate splits what starts with LBA 0 into that and the rest.
func cutGate(extents []blockdev.Extent, sector int) (gate, rest []blockdev.Extent) {
	first := extents[0].Data
	rest = slices.Clone(extents)
	rest[0] = blockdev.Extent{Offset: int64(sector), Data: first[sector:]}
	return []blockdev.Extent{{Offset: 0, Data: first[:sector]}}, rest
}

// heldReader reads the image as far as it is held: head and tail.
type heldReader []blockdev.Extent

func (h heldReader) ReadAt(p []byte, off int64) (int, error) {
	var n int
	for _, e := range h {
		at := off + int64(n)
		if at >= e.Offset && at < e.End() {
			n += copy(p[n:], e.Data[at-e.Offset:])
		}
		if n == len(p) {
			return n, nil
		}
	}
	return n, io.ErrUnexpectedEOF
}
