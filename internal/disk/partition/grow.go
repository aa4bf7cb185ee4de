package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// Edit is a replacement of bytes on the disk. Offset and length are multiples
// of the sector size, so that it can be written with O_DIRECT. An edit of LBA 0
// covers that one sector alone.
type Edit struct {
	Offset int64
	Data   []byte
}

// Plan is what has to be written to change a table. Edits never overlap and may
// be written in any order; the order given keeps one sound GPT on the disk
// after each edit: backup, then primary, then LBA 0. Only bytes that change are
// in it: a plan without edits means that nothing is to do.
type Plan struct {
	Edits []Edit
	// Grown is the partition as it becomes, and nil when none grows.
	Grown *Partition
	// Note says in one sentence what the plan does, or why it does nothing.
	Note string
}

// MoveBackup plans how the table of an image looks on a disk of diskSize bytes,
// without changing any partition. r and imageSize are the image, or the disk
// that it was written to. The image's backup GPT may be anywhere or nowhere:
//
//   - The image is as large as the disk and its backup is at the end: no edits.
//   - The disk is larger, the usual case: a backup is made at the disk's end,
//     and the primary header (alternate and last usable sector) and the
//     protective MBR's length follow. The old backup stays where it was, inside
//     what is now free space: nothing looks for it there, and the bytes of the
//     image stay as they are.
//   - The image lost its backup, for example by truncation, or the backup is
//     damaged: the same, because the backup is always made from the primary.
//   - The primary is damaged and the backup is sound: the primary is made from
//     the backup.
//
// An MBR, and a disk without a table, need nothing. A disk smaller than the
// image is an error.
//
// Entries to be kept are added to both tables, unchanged, each under its own
// number where the image leaves that free. Only a GPT can take them, and they
// must fit: behind the image, before the backup.
func MoveBackup(r io.ReaderAt, imageSize, diskSize int64, sector int, keep ...Entry) (*Plan, error) {
	plan, _, err := move(r, imageSize, diskSize, sector, "moving the backup GPT", nil, keep)
	return plan, err
}

// GrowOptions says how [GrowLast] may grow.
type GrowOptions struct {
	// Align is what the new end of the partition is aligned down to, in bytes: a
	// multiple of the sector size, usually 1 MiB or 4 KiB. 0 means 1 MiB.
	Align int64
	// Allow says whether a partition may grow; nil means [Growable].
	Allow func(Partition) bool
	// Below, when not 0, has only partitions grow that begin before this byte, and
	// no further than to the first that does not: partitions that were kept behind
	// an image.
	Below int64
}

// GrowLast plans to extend the partition that ends highest on a disk of size
// bytes up to the last usable sector, aligned down. It includes what
// [MoveBackup] does where that is still to be done. That a partition may not or
// cannot grow is no error but a plan without Grown that says why.
//
// An MBR counts sectors with 32 bits: with 512-byte sectors nothing behind 2
// TiB can be used, which the note says. Only primary partitions of an MBR are
// grown. The copy of a partition in a hybrid MBR keeps its length: which of the
// two a firmware reads is unknown here.
func GrowLast(r io.ReaderAt, size int64, sector int, opts GrowOptions) (*Plan, error) {
	if opts.Align == 0 {
		opts.Align = 1 << 20
	}
	if opts.Allow == nil {
		opts.Allow = Growable
	}
	if opts.Align < 0 || sector <= 0 || opts.Align%int64(sector) != 0 {
		return nil, fmt.Errorf("growing the last partition: alignment %d is no multiple of the sector size %d", opts.Align, sector)
	}
	plan, t, err := move(r, size, size, sector, "growing the last partition", &opts, nil)
	if err != nil || t.Scheme != MBR {
		return plan, err
	}
	return growMBR(r, size, t, opts)
}

// move plans the tables of a disk of diskSize bytes for the image in r; with
// grow, its last partition is extended too. For anything but a GPT the plan is
// empty.
func move(r io.ReaderAt, imageSize, diskSize int64, sector int, doing string, grow *GrowOptions, keep []Entry) (*Plan, *Table, error) {
	t, err := Read(r, imageSize, sector)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", doing, err)
	}
	if s := int64(sector); diskSize < imageSize || diskSize%s != 0 || imageSize%s != 0 {
		return nil, nil, fmt.Errorf("%s: a disk of %d bytes does not fit an image of %d bytes in sectors of %d", doing, diskSize, imageSize,
			sector)
	}
	if t.Scheme != GPT && len(keep) > 0 {
		return nil, nil, fmt.Errorf("%s: %w", doing, errNoGPT)
	}
	if t.Scheme != GPT {
		return &Plan{Note: "no GPT on the disk: nothing to move"}, t, nil
	}
	// The image was read a moment ago, so what fails here is the reader, not the
	// table.
	image, err := newDisk(r, imageSize, sector)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", doing, err)
	}
	g, err := readGPT(image)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", doing, err)
	}
	plan := &Plan{}
	last := uint64(diskSize)/uint64(sector) - 1
	entriesAt := last - g.header.entrySectors(sector)
	usable := entriesAt - 1
	// A sound primary leaves room for itself; an image that was cut may leave none
	// for a backup.
	if first := g.header.u64(hdrFirstUsable); entriesAt < first {
		return nil, nil, fmt.Errorf("%s: a disk of %d bytes has no room for a backup GPT behind usable sector %d", doing, diskSize, first)
	}
	if top, ok := t.Last(); ok && top.End() > g.bytes(usable+1) {
		return nil, nil, fmt.Errorf("%s: partition %d ends at byte %d, where the backup GPT of a disk of %d bytes belongs", doing, top.Number,
			top.End(), diskSize)
	}
	if err := g.adopt(keep, usable); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", doing, err)
	}
	if grow != nil {
		g.growLast(plan, t, usable, *grow)
	}
	if err := g.emit(plan, last, entriesAt, usable, t.Hybrid); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", doing, err)
	}
	if grow == nil {
		plan.Note = "the backup GPT goes to the end of the disk"
		if len(plan.Edits) == 0 {
			plan.Note = "the backup GPT is at the end of the disk already"
		}
	}
	return plan, t, nil
}

// growLast changes the entry of the last partition in g.
func (g *gpt) growLast(plan *Plan, t *Table, usable uint64, opts GrowOptions) {
	end := g.bytes(usable + 1)
	if opts.Below > 0 {
		var next int64
		if t, next = t.below(opts.Below); next >= 0 {
			end = min(end, next)
		}
	}
	p, note := candidate(t, opts)
	if p == nil {
		plan.Note = note
		return
	}
	end = end / opts.Align * opts.Align
	if end <= p.End() {
		plan.Note = fmt.Sprintf("partition %d reaches the end of its space already", p.Number)
		return
	}
	binary.LittleEndian.PutUint64(g.entry(p.Number - 1)[entLast:], uint64(end)/uint64(g.sector)-1)
	plan.Note = fmt.Sprintf("partition %d grows from %d to %d bytes", p.Number, p.Size, end-p.Start)
	p.Size = end - p.Start
	plan.Grown = p
}

// candidate gives the last partition, or nil and the reason why it must not
// grow.
func candidate(t *Table, opts GrowOptions) (*Partition, string) {
	p, ok := t.Last()
	if !ok {
		return nil, "no partition to grow"
	}
	if !opts.Allow(p) {
		name := p.TypeName
		if name == "" {
			name = p.Type
		}
		return nil, fmt.Sprintf("the last partition, %d (%s), is not one that grows", p.Number, name)
	}
	return &p, ""
}

// emit adds the edits that turn the disk's tables into g with its backup header
// in sector last.
func (g *gpt) emit(plan *Plan, last, entriesAt, usable uint64, hybrid bool) error {
	sectors := g.header.entrySectors(g.sector)
	primaryAt := g.header.u64(hdrEntriesLBA)
	if g.fromBackup {
		// A backup does not say where the primary entries were; behind the header is
		// where the specification's picture has them and where every tool writes them.
		primaryAt = 2
		if primaryAt+sectors > g.header.u64(hdrFirstUsable) {
			return fmt.Errorf("no room for %d sectors of entries before sector %d to rebuild the primary GPT", sectors, g.header.u64(hdrFirstUsable))
		}
	}
	crc := crc32.ChecksumIEEE(g.entries[:g.header.entryBytes()])
	build := func(my, alternate, entries uint64) header {
		h := header(bytes.Clone(g.header))
		h.set64(hdrMyLBA, my)
		h.set64(hdrAlternate, alternate)
		h.set64(hdrEntriesLBA, entries)
		h.set64(hdrLastUsable, usable)
		h.set32(hdrEntriesCRC, crc)
		h.set32(hdrCRC, h.checksum())
		return h
	}
	backup, primary := build(last, 1, entriesAt), build(1, last, primaryAt)

	areas := []area{{entriesAt, append(bytes.Clone(g.entries), backup...)}}
	if primaryAt == 2 { // One write where it can be: the window in which the two differ is shortest.
		areas = append(areas, area{1, append(bytes.Clone(primary), g.entries...)})
	} else {
		areas = append(areas, area{primaryAt, g.entries}, area{1, primary})
	}
	lba0, err := g.read(0, 1)
	if err != nil {
		return err
	}
	if !hybrid { // A hybrid MBR's lengths are its author's choice.
		setProtectiveLength(lba0, last)
	}
	return g.changed(plan, append(areas, area{0, lba0}))
}

// area is bytes that belong at a sector.
type area struct {
	lba  uint64
	data []byte
}

// changed adds those areas to the plan that differ from what is on the disk.
// What lies behind the end of the image is unknown and always written.
func (g *gpt) changed(plan *Plan, areas []area) error {
	for _, a := range areas {
		n := uint64(len(a.data) / g.sector)
		if a.lba < g.sectors && n <= g.sectors-a.lba {
			old, err := g.read(a.lba, n)
			if err != nil {
				return err
			}
			if bytes.Equal(old, a.data) {
				continue
			}
		}
		plan.Edits = append(plan.Edits, Edit{Offset: g.bytes(a.lba), Data: a.data})
	}
	return nil
}

// setProtectiveLength makes the 0xEE entry cover the disk up to sector last,
// saturated as UEFI 2.10 table 5.4 says.
func setProtectiveLength(lba0 []byte, last uint64) {
	for i := range 4 {
		if e := mbrEntryAt(lba0, i); e.typ == typeProtective && e.start == 1 {
			b := lba0[mbrEntries+i*mbrEntrySize:]
			binary.LittleEndian.PutUint32(b[mbrSectors:], uint32(min(last, math.MaxUint32)))
			return
		}
	}
}

// growMBR plans the growth of the last primary partition: an edit of LBA 0
// alone.
func growMBR(r io.ReaderAt, size int64, t *Table, opts GrowOptions) (*Plan, error) {
	p, note := candidate(t, opts)
	if p == nil {
		return &Plan{Note: note}, nil
	}
	if p.Number > 4 {
		return &Plan{Note: fmt.Sprintf("the last partition, %d, is a logical one, which is not grown", p.Number)}, nil
	}
	d, err := newDisk(r, size, t.SectorSize)
	if err != nil {
		return nil, err
	}
	// The end must be addressable too: Linux copes with more, other readers of the
	// table do not.
	limit := int64(math.MaxUint32) * int64(d.sector)
	end := min(size, limit) / opts.Align * opts.Align
	if end <= p.End() {
		return &Plan{Note: fmt.Sprintf("partition %d reaches the end of what can be used already", p.Number)}, nil
	}
	lba0, err := d.read(0, 1)
	if err != nil {
		return nil, fmt.Errorf("growing the last partition: %w", err)
	}
	plan := &Plan{Note: fmt.Sprintf("partition %d grows from %d to %d bytes", p.Number, p.Size, end-p.Start)}
	if size > limit {
		plan.Note += fmt.Sprintf("; an MBR with %d-byte sectors ends at %d bytes, the other %d bytes of the disk stay unused (GPT has "+
			"no such limit)", d.sector, limit, size-end)
	}
	p.Size = end - p.Start
	plan.Grown = p
	e := lba0[mbrEntries+(p.Number-1)*mbrEntrySize:]
	binary.LittleEndian.PutUint32(e[mbrSectors:], uint32(p.Size/int64(d.sector)))
	copy(e[mbrEndCHS:mbrEndCHS+3], chs(uint64(end)/uint64(d.sector)-1))
	plan.Edits = []Edit{{Offset: 0, Data: lba0}}
	return plan, nil
}

// chs encodes a sector number for the geometry of 255 heads and 63 sectors that
// BIOSes assume for large disks; what is behind cylinder 1023 is written as the
// highest address.
func chs(lba uint64) []byte {
	const heads, perTrack = 255, 63
	c, h, s := lba/(heads*perTrack), lba/perTrack%heads, lba%perTrack+1
	if c > 1023 {
		return []byte{0xfe, 0xff, 0xff}
	}
	return []byte{byte(h), byte(s) | byte(c>>8)<<6, byte(c)}
}
