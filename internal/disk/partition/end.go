package partition

import (
	"bytes"
	"math"
)

// End tells how long a disk has to be for the table at its beginning: up to the
// end of the partition that ends highest and, for a GPT, the backup behind it,
// in bytes. It is false where head holds no table. head is the beginning of the
// disk, with the entries of its GPT if it has one.
//
// An image that is shorter was either cut in mid-download or never had what is
// missing.
func End(head []byte) (int64, bool) {
	if len(head) < 512 {
		return 0, false
	}
	switch kind, _ := classify(head[:512]); kind {
	case GPT:
		return endOfGPT(head)
	case MBR:
		end := uint64(0)
		for i := range 4 {
			if e := mbrEntryAt(head, i); e.used() {
				end = max(end, e.start+e.count)
			}
		}
		return int64(end) * 512, end > 0
	}
	return 0, false
}

func endOfGPT(head []byte) (int64, bool) {
	sector, ok := DetectSectorSize(bytes.NewReader(head), int64(len(head)))
	if !ok {
		return 0, false
	}
	d, err := newDisk(bytes.NewReader(head), int64(len(head)), sector)
	if err != nil {
		return 0, false
	}
	g := &gpt{disk: d}
	if err := g.load(1); err != nil {
		return 0, false
	}
	end := uint64(0)
	for _, i := range g.used() {
		_, last := entryRange(g.entry(i))
		end = max(end, last)
	}
	if end == 0 || end > math.MaxInt64/(2*maxEntrySize) {
		return 0, false
	}
	end += 1 + g.header.entrySectors(sector) + 1
	return int64(end) * int64(sector), true
}
