package partition

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"
)

// Limits on a GPT's entry array. The specification allows any size of 128 times
// a power of two and sets no bound on the count; every known tool writes 128
// entries of 128 bytes.
const (
	minEntrySize = 128
	maxEntrySize = 4096
	maxEntries   = 1024
)

// Offsets in a GPT header (UEFI 2.10, table 5.5). All fields are little-endian.
const (
	hdrSignature   = 0
	hdrSize        = 12
	hdrCRC         = 16
	hdrMyLBA       = 24
	hdrAlternate   = 32
	hdrFirstUsable = 40
	hdrLastUsable  = 48
	hdrDiskGUID    = 56
	hdrEntriesLBA  = 72
	hdrEntryCount  = 80
	hdrEntrySize   = 84
	hdrEntriesCRC  = 88
	hdrMinSize     = 92
)

// Offsets in a GPT entry (UEFI 2.10, table 5.6).
const (
	entType  = 0
	entGUID  = 16
	entFirst = 32
	entLast  = 40
	entAttrs = 48
	entName  = 56
	nameLen  = 72
)

// attrLegacyBoot is bit 2 of the attributes: legacy BIOS bootable.
const attrLegacyBoot = 1 << 2

var signature = []byte("EFI PART")

// header is one whole sector that holds a checked GPT header. Keeping the bytes
// means that vendor fields behind the known ones survive a rewrite.
type header []byte

func (h header) u32(off int) uint32        { return binary.LittleEndian.Uint32(h[off:]) }
func (h header) u64(off int) uint64        { return binary.LittleEndian.Uint64(h[off:]) }
func (h header) set64(off int, v uint64)   { binary.LittleEndian.PutUint64(h[off:], v) }
func (h header) set32(off int, v uint32)   { binary.LittleEndian.PutUint32(h[off:], v) }
func (h header) entryCount() int           { return int(h.u32(hdrEntryCount)) }
func (h header) entrySize() int            { return int(h.u32(hdrEntrySize)) }
func (h header) entryBytes() int           { return h.entryCount() * h.entrySize() }
func (h header) entrySectors(s int) uint64 { return uint64((h.entryBytes() + s - 1) / s) }

// checksum is the CRC-32 of the header with its own checksum field taken as
// zero.
func (h header) checksum() uint32 {
	b := bytes.Clone(h[:h.u32(hdrSize)])
	clear(b[hdrCRC : hdrCRC+4])
	return crc32.ChecksumIEEE(b)
}

// readHeader reads and checks the header at lba, without its entries.
func readHeader(d disk, lba uint64) (header, error) {
	b, err := d.read(lba, 1)
	if err != nil {
		return nil, err
	}
	h := header(b)
	if !bytes.Equal(h[hdrSignature:8], signature) {
		return nil, errors.New("no GPT signature")
	}
	if n := h.u32(hdrSize); n < hdrMinSize || n > uint32(len(h)) {
		return nil, fmt.Errorf("header size %d is not between %d and %d", n, hdrMinSize, len(h))
	}
	if got, want := h.checksum(), h.u32(hdrCRC); got != want {
		return nil, fmt.Errorf("header checksum is %08x, stored %08x", got, want)
	}
	// A header that was copied with the disk it is on, say by dd to another offset,
	// is not this disk's header although its checksum is right.
	if my := h.u64(hdrMyLBA); my != lba {
		return nil, fmt.Errorf("header at sector %d says it is at sector %d", lba, my)
	}
	size, count := h.u32(hdrEntrySize), h.u32(hdrEntryCount)
	if size < minEntrySize || size > maxEntrySize || size&(size-1) != 0 {
		return nil, fmt.Errorf("entry size %d is not %d times a power of two up to %d", size, minEntrySize, maxEntrySize)
	}
	if count == 0 || count > maxEntries {
		return nil, fmt.Errorf("%d entries: not between 1 and %d", count, maxEntries)
	}
	first, last := h.u64(hdrFirstUsable), h.u64(hdrLastUsable)
	// An image may end behind its last partition, without the backup and with a
	// primary header that speaks of a larger disk: on whatever disk it is written
	// to, the backup is made anew.
	end := d.sectors
	if lba == 1 {
		end = max(end, h.u64(hdrAlternate))
	}
	if first < 2 || last >= end || first > last+1 {
		return nil, fmt.Errorf("usable sectors %d to %d of a disk with %d sectors", first, last, d.sectors)
	}
	return h, nil
}

// readEntries reads and checks the entry array that h points to. It must lie
// between the header and the usable area, on the header's own side.
func readEntries(d disk, h header) ([]byte, error) {
	at, n := h.u64(hdrEntriesLBA), h.entrySectors(d.sector)
	my, first, last := h.u64(hdrMyLBA), h.u64(hdrFirstUsable), h.u64(hdrLastUsable)
	// A primary's array lies behind its header and below the usable area; a
	// backup's lies above the usable area and below its header. at is bounded
	// first, so that at+n cannot overflow.
	ok := at < d.sectors && ((my < first && at > my && at+n <= first) || (my > last && at > last && at+n <= my))
	if !ok {
		return nil, fmt.Errorf("entries at sectors %d+%d collide with the header at %d or the usable sectors %d to %d", at, n, my, first, last)
	}
	b, err := d.read(at, n)
	if err != nil {
		return nil, err
	}
	if got, want := crc32.ChecksumIEEE(b[:h.entryBytes()]), h.u32(hdrEntriesCRC); got != want {
		return nil, fmt.Errorf("entries checksum is %08x, stored %08x", got, want)
	}
	return b, nil
}

// gpt is a GPT that was read and found sound.
type gpt struct {
	disk
	header     header
	entries    []byte // whole sectors
	fromBackup bool
	warnings   []string
}

// readGPT reads the primary GPT, or the backup when the primary is damaged, and
// checks its partitions. Contradictions that checksums vouch for are not
// damage: they are errors at once.
func readGPT(d disk) (*gpt, error) {
	g := &gpt{disk: d}
	primary := g.load(1)
	if primary != nil {
		// A header that survived with damaged entries still knows where the backup is.
		places := []uint64{d.sectors - 1}
		if h, err := readHeader(d, 1); err == nil {
			places = slices.Insert(places, 0, h.u64(hdrAlternate))
		}
		var backup error
		for _, lba := range places {
			if backup = g.load(lba); backup == nil {
				break
			}
		}
		if backup != nil {
			return nil, fmt.Errorf("primary GPT: %w; backup GPT: %w", primary, backup)
		}
		g.fromBackup = true
		g.warnings = append(g.warnings, fmt.Sprintf("the primary GPT is damaged (%v): read from the backup", primary))
	}
	if last := g.header.u64(hdrLastUsable); last >= g.sectors {
		g.warnings = append(g.warnings, fmt.Sprintf("the GPT was made for a disk of %d sectors, and its backup is not in this one of %d",
			g.header.u64(hdrAlternate)+1, g.sectors))
	}
	return g, g.check()
}

// load takes header and entries from lba only if both are sound: a mix of
// primary and backup would be neither.
func (g *gpt) load(lba uint64) error {
	h, err := readHeader(g.disk, lba)
	if err != nil {
		return err
	}
	e, err := readEntries(g.disk, h)
	if err != nil {
		return err
	}
	g.header, g.entries = h, e
	return nil
}

// entry is the raw entry of partition number i+1. It aliases g.entries: growth
// writes through it.
func (g *gpt) entry(i int) []byte {
	n := g.header.entrySize()
	return g.entries[i*n : (i+1)*n : (i+1)*n]
}

// used lists, lowest first, the indices of entries that describe a partition.
func (g *gpt) used() []int {
	var used []int
	for i := range g.header.entryCount() {
		if !allZero(g.entry(i)[entType : entType+16]) {
			used = append(used, i)
		}
	}
	return used
}

func entryRange(e []byte) (first, last uint64) {
	return binary.LittleEndian.Uint64(e[entFirst:]), binary.LittleEndian.Uint64(e[entLast:])
}

// check refuses partitions that overlap or leave the usable area.
func (g *gpt) check() error {
	lo, hi := g.header.u64(hdrFirstUsable), g.header.u64(hdrLastUsable)
	spans := make([]span, 0, 8)
	for _, i := range g.used() {
		first, last := entryRange(g.entry(i))
		if first > last {
			return fmt.Errorf("GPT partition %d: first sector %d is behind its last sector %d", i+1, first, last)
		}
		if last >= g.sectors {
			return fmt.Errorf("GPT partition %d: sectors %d to %d end behind the disk of %d sectors", i+1, first, last, g.sectors)
		}
		if first < lo || last > hi {
			return fmt.Errorf("GPT partition %d: sectors %d to %d are outside the usable sectors %d to %d", i+1, first, last, lo, hi)
		}
		spans = append(spans, span{i + 1, first, last})
	}
	if err := overlap(spans); err != nil {
		return fmt.Errorf("GPT: %w", err)
	}
	return nil
}

// span is a partition's range of sectors, both ends included. Number 0 is a
// boot record in the chain of logical partitions, which takes up its sector as
// well.
type span struct {
	number      int
	first, last uint64
}

func (s span) String() string {
	if s.number == 0 {
		return fmt.Sprintf("the boot record (sector %d)", s.first)
	}
	return fmt.Sprintf("partition %d (sectors %d to %d)", s.number, s.first, s.last)
}

// overlap sorts the spans by place, so that only neighbours need to be
// compared.
func overlap(spans []span) error {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(spans); i++ {
		if a, b := spans[i-1], spans[i]; b.first <= a.last {
			return fmt.Errorf("%v and %v overlap", a, b)
		}
	}
	return nil
}

func (g *gpt) table() *Table {
	t := &Table{
		Scheme:     GPT,
		DiskID:     guid(g.header[hdrDiskGUID:]),
		SectorSize: g.sector,
		FromBackup: g.fromBackup,
		Warnings:   g.warnings,
	}
	for _, i := range g.used() {
		t.Partitions = append(t.Partitions, g.partition(i))
	}
	return t
}

func (g *gpt) partition(i int) Partition {
	e := g.entry(i)
	first, last := entryRange(e)
	typ := guid(e[entType:])
	return Partition{
		Number:   i + 1,
		Start:    g.bytes(first),
		Size:     g.bytes(last - first + 1),
		Type:     typ,
		TypeName: gptTypeName(typ),
		Name:     decodeName(e[entName : entName+nameLen]),
		GUID:     guid(e[entGUID:]),
		Bootable: binary.LittleEndian.Uint64(e[entAttrs:])&attrLegacyBoot != 0,
	}
}

// decodeName reads a label of UTF-16LE, which ends at the first NUL if it does
// not fill its field.
func decodeName(b []byte) string {
	u := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// guid formats a GUID as Linux does: the first three fields are little-endian
// on disk.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x",
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]),
		binary.BigEndian.Uint16(b[8:]), b[10:16])
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
