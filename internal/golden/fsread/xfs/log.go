package xfs

import (
	"sort"

	"github.com/gild-dev/gild/internal/golden/be"
)

const (
	logSector = 512
	logMagic  = 0xfeedbabe
	// A log record is at most 256 KiB, and may be padded to a stripe of as much.
	logSearch = 2 * 256 << 10 / logSector
)

// Dirty tells whether the log ends with anything but the record that an unmount
// leaves. What cannot be told, such as a log on another device, counts as
// dirty.
func (v *Volume) Dirty() bool {
	if v.unclean || v.logBytes < logSector || v.logStart > v.dev.Size-v.logBytes {
		return true
	}
	l := ring{v: v, sectors: int(v.logBytes / logSector)}
	head := l.head()
	return l.failed || !l.unmounted(head)
}

// ring reads the circular log. Every sector of it begins with the number of the
// cycle it was written in, as xlog_find_head in the kernel's
// fs/xfs/xfs_log_recover.c uses.
type ring struct {
	v       *Volume
	sectors int
	failed  bool
}

func (l *ring) sector(n int) []byte {
	b := make([]byte, logSector)
	if _, err := l.v.dev.ReadAt(b, l.v.logStart+int64(n)*logSector); err != nil {
		l.failed = true
	}
	return b
}

func (l *ring) cycle(n int) uint32 {
	b := l.sector(n)
	if be.U32(b, 0) == logMagic {
		return be.U32(b, 4)
	}
	return be.U32(b, 0)
}

// head finds the sector that would be written next, by bisection: in front of
// it is the current cycle, behind it the one before, or zeros in a log that was
// never filled.
func (l *ring) head() int {
	current := l.cycle(0)
	return sort.Search(l.sectors, func(n int) bool { return l.cycle(n) != current })
}

// unmounted tells whether the last record before head is the one of an unmount:
// a single operation with that flag, and nothing after it.
func (l *ring) unmounted(head int) bool {
	for back := 1; back <= min(l.sectors, logSearch); back++ {
		at := (head - back + l.sectors) % l.sectors
		b := l.sector(at)
		if l.failed {
			return false
		}
		if be.U32(b, 0) != logMagic {
			continue
		}
		length, size, version := be.U32(b, 12), be.U32(b, 320), be.U32(b, 8)
		headers := 1
		if version&2 != 0 && size > 32<<10 && size <= 256<<10 {
			headers = int((size + 32<<10 - 1) / (32 << 10))
		}
		if be.U32(b, 40) != 1 || length > 256<<10 || string(b[304:320]) != string(l.v.uuid[:]) {
			return false
		}
		if back != headers+int((length+logSector-1)/logSector) {
			return false
		}
		const flagsByte, unmount = 9, 0x20 // of xlog_op_header
		return l.sector((at + headers) % l.sectors)[flagsByte]&unmount != 0
	}
	return false
}
