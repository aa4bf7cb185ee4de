package partition

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// NewIDs plans new identifiers for a table: the disk's GUID and those of its
// partitions for GPT, the disk signature for MBR, which Linux makes PARTUUIDs
// of. fresh gives the new identifier for an old one, in the form of
// [Table.DiskID] and [Partition.GUID]; the old one itself leaves it. Types,
// places and labels stay. A disk without a table needs nothing.
func NewIDs(r io.ReaderAt, size int64, sector int, fresh func(old string) string) (*Plan, error) {
	plan, err := newIDs(r, size, sector, fresh)
	if err != nil {
		return nil, fmt.Errorf("giving the partition table new IDs: %w", err)
	}
	return plan, nil
}

func newIDs(r io.ReaderAt, size int64, sector int, fresh func(old string) string) (*Plan, error) {
	t, err := Read(r, size, sector)
	if err != nil {
		return nil, err
	}
	d, err := newDisk(r, size, sector)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Note: "the disk and its partitions have new IDs"}
	switch t.Scheme {
	case MBR:
		lba0, err := d.read(0, 1)
		if err != nil {
			return nil, err
		}
		id, err := hex.DecodeString(fresh(t.DiskID))
		if err != nil || len(id) != 4 {
			return nil, fmt.Errorf("%.40q is no disk signature", fresh(t.DiskID))
		}
		binary.LittleEndian.PutUint32(lba0[mbrDiskID:], binary.BigEndian.Uint32(id))
		return plan, (&gpt{disk: d}).changed(plan, []area{{0, lba0}})
	case GPT:
		g, err := readGPT(d)
		if err != nil {
			return nil, err
		}
		if err := putGUID(g.header[hdrDiskGUID:], fresh); err != nil {
			return nil, err
		}
		for _, i := range g.used() {
			if err := putGUID(g.entry(i)[entGUID:], fresh); err != nil {
				return nil, err
			}
		}
		last := d.sectors - 1
		return plan, g.emit(plan, last, last-g.header.entrySectors(sector), g.header.u64(hdrLastUsable), t.Hybrid)
	}
	return &Plan{Note: "no partition table on the disk: it has no IDs"}, nil
}

// putGUID replaces a GUID in its form on the disk by what fresh makes of it.
func putGUID(b []byte, fresh func(string) string) error {
	s := fresh(guid(b))
	raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(raw) != 16 {
		return fmt.Errorf("%.40q is no GUID", s)
	}
	for _, field := range [][]byte{raw[:4], raw[4:6], raw[6:8]} { // little-endian on disk
		slices.Reverse(field)
	}
	if guid(raw) != s {
		return fmt.Errorf("%.40q is no GUID", s)
	}
	copy(b, raw)
	return nil
}
