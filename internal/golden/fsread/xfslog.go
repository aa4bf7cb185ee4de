package fsread

import "sort"

const (
	xfsLogSector = 512
	xfsLogMagic  = 0xfeedbabe
	// A log record is at most 256 KiB, and may be padded to a stripe of as much.
	xfsLogSearch = 2 * 256 << 10 / xfsLogSector
)

// dirty tells whether the log ends with anything but the record that an unmount leaves. What cannot be told, such as a
// log on another device, counts as dirty.
func (v *xfsVolume) dirty() bool {
	if v.unclean || v.logBytes < xfsLogSector || v.logStart > v.dev.size-v.logBytes {
		return true
	}
	l := xfsLog{v: v, sectors: int(v.logBytes / xfsLogSector)}
	head := l.head()
	return l.failed || !l.unmounted(head)
}

// xfsLog reads the circular log. Every sector of it begins with the number of the cycle it was written in, as xlog_find_head
// in the kernel's fs/xfs/xfs_log_recover.c uses.
type xfsLog struct {
	v       *xfsVolume
	sectors int
	failed  bool
}

func (l *xfsLog) sector(n int) []byte {
	b := make([]byte, xfsLogSector)
	if _, err := l.v.dev.ReadAt(b, l.v.logStart+int64(n)*xfsLogSector); err != nil {
		l.failed = true
	}
	return b
}

func (l *xfsLog) cycle(n int) uint32 {
	b := l.sector(n)
	if be32(b, 0) == xfsLogMagic {
		return be32(b, 4)
	}
	return be32(b, 0)
}

// head finds the sector that would be written next, by bisection: in front of it is the current cycle, behind it the one
// before, or zeros in a log that was never filled.
func (l *xfsLog) head() int {
	current := l.cycle(0)
	return sort.Search(l.sectors, func(n int) bool { return l.cycle(n) != current })
}

// unmounted tells whether the last record before head is the one of an unmount: a single operation with that flag, and
// nothing after it.
func (l *xfsLog) unmounted(head int) bool {
	for back := 1; back <= min(l.sectors, xfsLogSearch); back++ {
		at := (head - back + l.sectors) % l.sectors
		b := l.sector(at)
		if l.failed {
			return false
		}
		if be32(b, 0) != xfsLogMagic {
			continue
		}
		length, size, version := be32(b, 12), be32(b, 320), be32(b, 8)
		headers := 1
		if version&2 != 0 && size > 32<<10 && size <= 256<<10 {
			headers = int((size + 32<<10 - 1) / (32 << 10))
		}
		if be32(b, 40) != 1 || length > 256<<10 || string(b[304:320]) != string(l.v.uuid[:]) {
			return false
		}
		if back != headers+int((length+xfsLogSector-1)/xfsLogSector) {
			return false
		}
		const flagsByte, unmount = 9, 0x20 // of xlog_op_header
		return l.sector((at + headers) % l.sectors)[flagsByte]&unmount != 0
	}
	return false
}
