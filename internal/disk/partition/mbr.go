package partition

import (
	"encoding/binary"
	"fmt"
)

// Layout of a master boot record: everything is in the first 512 bytes whatever
// the sector size.
const (
	mbrDiskID    = 440
	mbrEntries   = 446
	mbrEntrySize = 16
	mbrMagic     = 510
)

// Offsets in an MBR entry.
const (
	mbrActive   = 0
	mbrType     = 4
	mbrEndCHS   = 5
	mbrStart    = 8
	mbrSectors  = 12
	mbrActiveOn = 0x80
)

const typeProtective = 0xee

// maxLogical bounds the chain of logical partitions. Linux stops at 256
// partitions of a disk.
const maxLogical = 250

// mbrEntry is one 16-byte record of an MBR or of an extended boot record.
type mbrEntry struct {
	active       byte
	typ          byte
	start, count uint64 // sectors
}

func mbrEntryAt(sector []byte, i int) mbrEntry {
	e := sector[mbrEntries+i*mbrEntrySize:]
	return mbrEntry{
		active: e[mbrActive],
		typ:    e[mbrType],
		start:  uint64(binary.LittleEndian.Uint32(e[mbrStart:])),
		count:  uint64(binary.LittleEndian.Uint32(e[mbrSectors:])),
	}
}

// used says whether the entry is a partition. Type zero is free space by
// definition, and some tools leave a length in it; Linux alone would show such
// an entry.
func (e mbrEntry) used() bool { return e.count != 0 && e.typ != 0 }

func (e mbrEntry) extended() bool { return e.typ == 0x05 || e.typ == 0x0f || e.typ == 0x85 }

func hasMagic(sector []byte) bool { return sector[mbrMagic] == 0x55 && sector[mbrMagic+1] == 0xaa }

// classify tells what LBA 0 announces, and whether a protective MBR is hybrid.
func classify(lba0 []byte) (s Scheme, hybrid bool) {
	if !hasMagic(lba0) {
		return None, false
	}
	protective, used := false, 0
	for i := range 4 {
		e := mbrEntryAt(lba0, i)
		if e.active&^mbrActiveOn != 0 {
			// Boot code or text where the table would be: the boot sector of a file system.
			return None, false
		}
		// The start is part of the definition (UEFI 2.10, table 5.4), and Linux checks
		// it.
		if e.typ == typeProtective && e.start == 1 {
			protective = true
		} else if e.used() {
			used++
		}
	}
	switch {
	case protective:
		return GPT, used > 0
	case used == 0 && isBootSector(lba0):
		return None, false
	}
	return MBR, false
}

// isBootSector recognises the BIOS parameter block of FAT and NTFS, which carry
// the same magic number as an MBR: a jump, a power of two as sector size, and a
// media byte from 0xf0 on.
func isBootSector(b []byte) bool {
	n := binary.LittleEndian.Uint16(b[11:])
	return (b[0] == 0xeb || b[0] == 0xe9) && n >= 512 && n <= 4096 && n&(n-1) == 0 && b[21] >= 0xf0
}

func readMBR(d disk, lba0 []byte) (*Table, error) {
	id := binary.LittleEndian.Uint32(lba0[mbrDiskID:])
	t := &Table{Scheme: MBR, DiskID: fmt.Sprintf("%08x", id), SectorSize: d.sector}
	m := &mbrReader{disk: d, id: id, table: t}
	var extended []mbrEntry
	for i := range 4 {
		e := mbrEntryAt(lba0, i)
		if !e.used() {
			continue
		}
		if err := m.add(i+1, e, 0); err != nil {
			return nil, fmt.Errorf("MBR: %w", err)
		}
		if e.extended() {
			extended = append(extended, e)
		}
	}
	// Before the logical partitions are added: those lie inside the extended one on
	// purpose.
	if err := overlap(m.spans); err != nil {
		return nil, fmt.Errorf("MBR: %w", err)
	}
	for _, e := range extended {
		if err := m.chain(e); err != nil {
			return nil, fmt.Errorf("MBR: logical partitions: %w", err)
		}
	}
	return t, nil
}

// mbrReader collects the partitions of a table together with the sectors that
// they occupy.
type mbrReader struct {
	disk
	id    uint32
	table *Table
	spans []span
}

// add lists the partition that e describes relative to sector base.
func (m *mbrReader) add(number int, e mbrEntry, base uint64) error {
	first := base + e.start
	last := first + e.count - 1
	if first == 0 || last >= m.sectors {
		return fmt.Errorf("partition %d: sectors %d to %d are outside sectors 1 to %d", number, first, last, m.sectors-1)
	}
	m.spans = append(m.spans, span{number, first, last})
	m.table.Partitions = append(m.table.Partitions, Partition{
		Number:   number,
		Start:    m.bytes(first),
		Size:     m.bytes(e.count),
		Type:     fmt.Sprintf("0x%x", e.typ),
		TypeName: mbrTypeName(e.typ),
		GUID:     fmt.Sprintf("%08x-%02x", m.id, number),
		Bootable: e.active == mbrActiveOn,
	})
	return nil
}

// chain follows the extended boot records of one extended partition. The first
// entry of each describes a logical partition relative to the record, the
// second the next record relative to the extended partition.
func (m *mbrReader) chain(ext mbrEntry) error {
	end := ext.start + ext.count
	seen := make(map[uint64]bool)
	// logical partitions lie inside the extended one and are compared with each
	// other
	m.spans = nil
	for at := ext.start; ; {
		if seen[at] {
			return fmt.Errorf("the chain of boot records loops back to sector %d", at)
		}
		if len(seen) == maxLogical {
			return fmt.Errorf("more than %d boot records", maxLogical)
		}
		seen[at] = true
		b, err := m.read(at, 1)
		if err != nil {
			return err
		}
		if !hasMagic(b) {
			// Linux ends the chain here silently. An extended partition that was never
			// formatted looks the same, so this is no error.
			m.table.Warnings = append(m.table.Warnings, fmt.Sprintf("no boot record at sector %d: the chain of logical partitions ends there", at))
			break
		}
		m.spans = append(m.spans, span{0, at, at})
		data, link := mbrEntryAt(b, 0), mbrEntryAt(b, 1)
		if data.used() && !data.extended() {
			if data.start == 0 || at+data.start+data.count > end {
				return fmt.Errorf("the partition described at sector %d leaves the extended partition", at)
			}
			if err := m.add(m.nextLogical(), data, at); err != nil {
				return err
			}
		}
		if !link.used() || !link.extended() {
			break
		}
		if link.start >= ext.count {
			return fmt.Errorf("the boot record at sector %d points outside the extended partition", at)
		}
		at = ext.start + link.start
	}
	return overlap(m.spans)
}

// nextLogical numbers logical partitions from 5 in the order of the chain, as
// Linux does.
func (m *mbrReader) nextLogical() int {
	n := 5
	for _, p := range m.table.Partitions {
		n = max(n, p.Number+1)
	}
	return n
}
