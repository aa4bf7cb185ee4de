package partition

import "io"

// DetectSectorSize finds the logical sector size that a GPT was written with,
// 512 or 4096, and reports false when there is no sound GPT. An MBR does not
// tell its sector size.
func DetectSectorSize(r io.ReaderAt, size int64) (sector int, ok bool) {
	sizes, _ := SectorSizes(r, size)
	if len(sizes) == 0 {
		return 0, false
	}
	return sizes[0], true
}

// SectorSizes lists the logical sector sizes for which there is a GPT, the
// likelier one first. Two of them mean that the disk was partitioned anew with
// the other size; sure says whether it shows which came last. Linux knows the
// sector size beforehand, and never sees the other table.
func SectorSizes(r io.ReaderAt, size int64) (sizes []int, sure bool) {
	// 4096 goes first: a new 512-byte table, unless it is a short one, overwrites a
	// stale header at byte 4096 with its entries, while a new 4096-byte table may
	// leave a stale header at byte 512, inside its LBA 0.
	a, b := evidenceOf(r, size, 4096), evidenceOf(r, size, 512)
	switch {
	case !a.header && !b.header:
		return nil, false
	case !b.header:
		return []int{4096}, true
	case !a.header:
		return []int{512}, true
	}
	for _, tells := range []func(evidence) bool{
		func(e evidence) bool { return e.primary },
		func(e evidence) bool { return e.protected },
		func(e evidence) bool { return e.backup },
	} {
		switch {
		case tells(a) && !tells(b):
			return []int{4096, 512}, true
		case tells(b) && !tells(a):
			return []int{512, 4096}, true
		}
	}
	return []int{4096, 512}, false
}

// evidence is what speaks for a GPT of one sector size.
type evidence struct {
	header    bool // a sound header, primary or backup
	primary   bool // header and entries at the head
	protected bool // the protective MBR, written with the last table, has that table's length
	backup    bool // a sound backup where the primary has it, of the same disk
}

func evidenceOf(r io.ReaderAt, size int64, sector int) evidence {
	d, err := newDisk(r, size, sector)
	if err != nil {
		return evidence{}
	}
	h, err := readHeader(d, 1)
	if err != nil {
		_, err := readHeader(d, d.sectors-1)
		return evidence{header: err == nil}
	}
	e := evidence{header: true, protected: protects(d, h)}
	_, err = readEntries(d, h)
	e.primary = err == nil
	if b, err := readHeader(d, h.u64(hdrAlternate)); err == nil {
		e.backup = guid(b[hdrDiskGUID:]) == guid(h[hdrDiskGUID:]) && b.u32(hdrEntriesCRC) == h.u32(hdrEntriesCRC)
	}
	return e
}

// protects reports whether the protective MBR covers the disk that the header
// speaks of (UEFI 2.10, table 5.4).
func protects(d disk, h header) bool {
	lba0, err := d.read(0, 1)
	if err != nil || !hasMagic(lba0) {
		return false
	}
	for i := range 4 {
		if e := mbrEntryAt(lba0, i); e.typ == typeProtective && e.start == 1 && e.count == h.u64(hdrAlternate) {
			return true
		}
	}
	return false
}
