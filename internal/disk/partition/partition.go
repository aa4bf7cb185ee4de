// Package partition reads the partition tables of disks, GPT or MBR, to check
// or to grow them.
//
// It is pure: tables come in through an [io.ReaderAt] and a size, and changes
// go out as [Edit] values that the caller writes where and when it must.
// Growing a disk that was written from a smaller image has two separate stages:
//
//   - [MoveBackup] places the backup GPT at the disk's real end and changes no
//     partition. Its edits belong to the write of the image, before the disk
//     can boot.
//   - [GrowLast] extends the last partition into the space behind it, on the
//     finished disk.
//
// Both accept every state of the backup: see [MoveBackup].
package partition

import (
	"errors"
	"fmt"
	"io"
)

// Scheme is the kind of partition table on a disk.
type Scheme string

// The schemes that [Read] tells apart.
const (
	// GPT is a GUID partition table behind a protective or hybrid MBR (UEFI 2.10,
	// section 5).
	GPT Scheme = "gpt"
	// MBR is a classic table of four entries in LBA 0, with its chain of logical
	// partitions.
	MBR Scheme = "mbr"
	// None is an empty disk, or one whose file system starts at byte 0
	// ("superfloppy").
	None Scheme = "none"
)

// Table is the partition table of one disk.
type Table struct {
	Scheme Scheme
	// DiskID is the disk's GUID in lower case for GPT, the disk signature as eight
	// hexadecimal digits for MBR, and empty for None.
	DiskID string
	// SectorSize is the logical sector size in bytes that the table was read with.
	SectorSize int
	// Partitions are in the order of their numbers. Extended MBR partitions are
	// included.
	Partitions []Partition
	// FromBackup says that the primary GPT was damaged and the backup was used.
	// Linux does not look at the backup by itself, so such a disk cannot be booted
	// until it is repaired.
	FromBackup bool
	// Hybrid says that the MBR beside a GPT carries partitions of its own, which
	// are not listed.
	Hybrid bool
	// Warnings are remarks for the operator, one sentence each.
	Warnings []string
}

// Partition is one partition. Start and Size are in bytes whatever the sector
// size.
type Partition struct {
	// Number is what Linux appends to the disk's name, from 1; logical MBR
	// partitions start at 5.
	Number int
	Start  int64
	Size   int64
	// Type is the type GUID in lower case, or an MBR type as lsblk writes it:
	// "0x83", "0xc".
	Type string
	// TypeName is Type in words, or empty for a type that this package does not
	// know.
	TypeName string
	// Name is the GPT partition label as stored: foreign text, not fit for a
	// terminal as it is.
	Name string
	// GUID is what Linux calls PARTUUID: lower case, "xxxxxxxx-NN" for MBR.
	GUID string
	// Bootable is the MBR active flag, or the legacy BIOS bootable attribute of
	// GPT.
	Bootable bool
}

// End is the offset of the first byte behind the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Last gives the partition that ends highest, and false when there is none.
func (t *Table) Last() (Partition, bool) {
	var last Partition
	for _, p := range t.Partitions {
		if p.End() > last.End() {
			last = p
		}
	}
	return last, last.Number != 0
}

// Read reads the partition table of a disk of size bytes with logical sectors
// of sector bytes (512 or 4096); an incomplete last sector does not count. It
// sees what Linux would see: a GPT counts only behind a protective MBR, and a
// stale GPT behind an ordinary MBR does not. A disk without a table is not an
// error but scheme [None]. A damaged primary GPT falls back to the backup.
// Overlapping partitions, ranges outside the disk, absurd sizes and loops of
// logical partitions are errors.
func Read(r io.ReaderAt, size int64, sector int) (*Table, error) {
	d, err := newDisk(r, size, sector)
	if err != nil {
		return nil, err
	}
	lba0, err := d.read(0, 1)
	if err != nil {
		if errors.Is(err, errOutside) { // Smaller than one sector: nothing can be on it.
			return &Table{Scheme: None, SectorSize: sector}, nil
		}
		return nil, fmt.Errorf("reading the partition table: %w", err)
	}
	switch kind, hybrid := classify(lba0); kind {
	case GPT:
		g, err := readGPT(d)
		if err != nil {
			return nil, err
		}
		t := g.table()
		t.Hybrid = hybrid
		if hybrid {
			t.Warnings = append(t.Warnings, "hybrid MBR: its partitions are ignored in favour of the GPT")
		}
		return t, nil
	case MBR:
		return readMBR(d, lba0)
	}
	t := &Table{Scheme: None, SectorSize: sector}
	if _, err := readHeader(d, 1); err == nil {
		t.Warnings = append(t.Warnings, "a GPT without a protective MBR: firmware and Linux ignore it")
	}
	return t, nil
}

// ReadBehind reads a GPT whatever LBA 0 holds: what an interrupted flash, which
// zeroes LBA 0 first, leaves of the disk's table. It is an error when there is
// none.
func ReadBehind(r io.ReaderAt, size int64, sector int) (*Table, error) {
	d, err := newDisk(r, size, sector)
	if err != nil {
		return nil, err
	}
	g, err := readGPT(d)
	if err != nil {
		return nil, err
	}
	return g.table(), nil
}

// disk reads whole sectors of a disk and refuses what lies outside.
type disk struct {
	r       io.ReaderAt
	sector  int
	sectors uint64
}

var errOutside = errors.New("outside the disk")

func newDisk(r io.ReaderAt, size int64, sector int) (disk, error) {
	if sector != 512 && sector != 4096 {
		return disk{}, fmt.Errorf("sector size %d: only 512 and 4096 are known", sector)
	}
	if size < 0 {
		return disk{}, fmt.Errorf("disk size %d is negative", size)
	}
	return disk{r: r, sector: sector, sectors: uint64(size) / uint64(sector)}, nil
}

// read gives count sectors from lba on. Callers bound count.
func (d disk) read(lba, count uint64) ([]byte, error) {
	if lba >= d.sectors || count > d.sectors-lba {
		return nil, fmt.Errorf("sectors %d to %d: %w of %d sectors", lba, lba+count-1, errOutside, d.sectors)
	}
	b := make([]byte, count*uint64(d.sector))
	// ReadAt may report io.EOF together with a full read at the very end.
	if n, err := d.r.ReadAt(b, int64(lba)*int64(d.sector)); n < len(b) {
		return nil, fmt.Errorf("reading sector %d: %w", lba, err)
	}
	return b, nil
}

// bytes converts a sector number that was checked against the disk's end.
func (d disk) bytes(lba uint64) int64 { return int64(lba) * int64(d.sector) }
