// Package signature finds every mark that a storage format leaves on a
// partition, not only the first.
//
// A partition keeps what its former uses wrote and its present one does not
// overwrite: a ZFS label leaves the head of an older ext4 alone, mkfs.ext4
// leaves ZFS labels at the end. Which of them lives the marks alone do not
// tell, and whoever takes one for granted may take the data of another for free
// space. So all are named, in blkid's words.
//
// The places and texts are those of libblkid and of the formats' own
// documentation.
package signature

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Signature is one mark.
type Signature struct {
	// as blkid names it: "ext4", "zfs_member", "linux_raid_member", "dos" (a
	// partition table), ...
	Kind   string
	Offset int64 // bytes from the beginning of the partition to what was found
	// Tail says that the mark stands at the end of the partition, where no format
	// that begins at its head looks.
	Tail bool
	// Bare says that the text of the format stands alone, without the numbers that
	// a live one has around it: libblkid passes it over.
	Bare bool
}

// Kinds lists what the marks say, each kind once, in their order.
func Kinds(list []Signature) []string {
	var kinds []string
	for _, s := range list {
		if !slices.Contains(kinds, s.Kind) {
			kinds = append(kinds, s.Kind)
		}
	}
	return kinds
}

// Find looks for all marks on a partition of size bytes, in no order that means
// anything. It reads some 2 MiB at most; the error is the reader's.
func Find(r io.ReaderAt, size int64) ([]Signature, error) {
	s := &search{r: r, size: size}
	for _, m := range magics {
		s.magic(m)
	}
	for _, probe := range []func(){
		s.ext, s.fat, s.md, s.lvm, s.luks, s.swap, s.zfs, s.minix, s.hfs, s.ufs, s.nilfs, s.drbd, s.firmware,
		s.table,
	} {
		probe()
	}
	if s.err != nil {
		return nil, fmt.Errorf("look for signatures: %w", s.err)
	}
	for i := range s.found {
		s.found[i].Bare = s.bare(s.found[i])
	}
	return s.found, nil
}

// search is one look at a partition.
type search struct {
	r     io.ReaderAt
	size  int64
	cache []byte // the head, read once
	found []Signature
	err   error // the reader's first
}

// headSize covers the marks at the head but those of ZFS and the copies far
// behind.
const headSize = 72 << 10

// at gives n bytes at off, or nil where the partition has none; a negative off
// counts from the end.
func (s *search) at(off int64, n int) []byte {
	if off < 0 {
		off += s.size
	}
	if s.err != nil || off < 0 || off > s.size-int64(n) {
		return nil
	}
	if s.cache == nil {
		s.cache = s.read(0, int(min(s.size, headSize)))
	}
	if end := off + int64(n); end <= int64(len(s.cache)) {
		return s.cache[off:end]
	}
	return s.read(off, n)
}

func (s *search) read(off int64, n int) []byte {
	b := make([]byte, n)
	// ReadAt may report io.EOF together with a full read at the very end.
	if got, err := s.r.ReadAt(b, off); got < n {
		s.err = err
		return nil
	}
	return b
}

func (s *search) add(kind string, off int64) {
	tail := off < 0 || s.size > 2*headSize && off >= s.size/2
	if off < 0 {
		off += s.size
	}
	s.found = append(s.found, Signature{Kind: kind, Offset: off, Tail: tail})
}

// magic looks for a fixed text at a fixed place.
func (s *search) magic(m magic) {
	if bytes.Equal(s.at(m.offset, len(m.text)), []byte(m.text)) {
		s.add(m.kind, m.offset)
	}
}

func (s *search) ext() {
	b := s.at(1024, 1024)
	if b == nil || binary.LittleEndian.Uint16(b[0x38:]) != 0xef53 {
		return
	}
	s.add(ExtKind(b), 1024)
}

// ExtKind tells ext2, ext3, ext4 and a journal of its own apart by their super
// block, as blkid does: by a journal and by features that the older ones do not
// know (Documentation/filesystems/ext4/super.rst).
func ExtKind(super []byte) string {
	const (
		hasJournal   = 0x4
		journalDev   = 0x8
		ext3Incompat = 0x2 | 0x4 | 0x10 // file types, needs recovery, meta block groups
		ext3ROCompat = 0x1 | 0x2 | 0x4  // sparse super, large files, B-tree directories
	)
	compat, incompat := binary.LittleEndian.Uint32(super[0x5c:]), binary.LittleEndian.Uint32(super[0x60:])
	ro := binary.LittleEndian.Uint32(super[0x64:])
	switch {
	case incompat&journalDev != 0:
		return "jbd"
	case incompat&^ext3Incompat != 0 || ro&^ext3ROCompat != 0:
		return "ext4"
	case compat&hasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// fat takes the boot sector of DOS for what it says where its numbers make
// sense, with or without the type text that is usual but not required.
func (s *search) fat() {
	b := s.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return
	}
	text := strings.HasPrefix(string(b[0x52:]), "FAT32") || strings.HasPrefix(string(b[0x52:]), "MSWIN") ||
		strings.HasPrefix(string(b[0x36:]), "FAT") || strings.HasPrefix(string(b[0x36:]), "MSDOS")
	jump := b[0] == 0xeb || b[0] == 0xe9
	sector, cluster := binary.LittleEndian.Uint16(b[11:]), b[13]
	sane := sector >= 512 && sector <= 4096 && sector&(sector-1) == 0 && cluster != 0 && cluster&(cluster-1) == 0 &&
		binary.LittleEndian.Uint16(b[14:]) != 0 && b[16] != 0 && (b[21] == 0xf0 || b[21] >= 0xf8)
	if sane && (text || jump) {
		s.add("vfat", 0)
	}
}

// md looks in the four places that the super block of Linux software RAID has
// (md(4)).
func (s *search) md() {
	const magic = 0xa92b4efc
	sectors := s.size / 512
	for _, off := range []int64{0, 4096, (sectors - 16) &^ 7 * 512} {
		if b := s.at(max(0, off), 8); b != nil && binary.LittleEndian.Uint32(b) == magic && binary.LittleEndian.Uint32(b[4:]) == 1 {
			s.add("linux_raid_member", max(0, off))
		}
	}
	// 0.90 is in the byte order of its machine.
	off := s.size&^(64<<10-1) - 64<<10
	if b := s.at(max(0, off), 4); b != nil && (binary.LittleEndian.Uint32(b) == magic || binary.BigEndian.Uint32(b) == magic) && off > 4096 {
		s.add("linux_raid_member", off)
	}
}

// lvm looks into the first four sectors, where a physical volume may keep its
// label.
func (s *search) lvm() {
	for off := int64(0); off < 4*512; off += 512 {
		if b := s.at(off, 32); b != nil && string(b[:8]) == "LABELONE" && string(b[24:32]) == "LVM2 001" {
			s.add("LVM2_member", off)
		}
	}
}

// luks finds the header, and the second one of LUKS2, from which the first can
// be recovered (LUKS2 On-Disk Format 1.1.2, table 1). It says where it should
// lie; libblkid does not look at that, so that a system would take it for LUKS
// anyway.
func (s *search) luks() {
	if b := s.at(0, 6); string(b) == "LUKS\xba\xbe" {
		s.add("crypto_LUKS", 0)
	}
	for off := int64(16 << 10); off <= 4<<20; off *= 2 {
		if b := s.at(off, 6); string(b) == "SKUL\xba\xbe" {
			s.add("crypto_LUKS", off)
		}
	}
}

// swap looks at the end of the first page, whatever the page size of the
// machine that made it; a machine that sleeps has another text there.
func (s *search) swap() {
	for _, page := range []int64{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		switch b := s.at(page-10, 10); string(b) {
		case "SWAPSPACE2", "SWAP-SPACE":
			s.add("swap", page-10)
		case "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00", "LINHIB0001":
			s.add("swsuspend", page-10)
		}
	}
}

// zfs looks for an uberblock in the ring of each of the four labels: 256 KiB
// each, two at either end, the second half of each a ring of uberblocks of at
// least 1 KiB in the byte order of their machine (OpenZFS, vdev_impl.h).
func (s *search) zfs() {
	const label, ring = 256 << 10, 128 << 10
	end := s.size &^ (label - 1)
	places := []int64{0, label, end - 2*label, end - label}
	slices.Sort(places)
	for _, off := range slices.Compact(places) {
		if off < 0 {
			continue
		}
		b := s.at(off+ring, ring)
		for ; len(b) >= 1024; b = b[1024:] {
			if binary.LittleEndian.Uint64(b) == 0x00bab10c || binary.BigEndian.Uint64(b) == 0x00bab10c {
				s.add("zfs_member", off)
				break
			}
		}
	}
}

// minix has two bytes only, in a place that ext uses for a counter.
func (s *search) minix() {
	b := s.at(1024, 64)
	if b == nil || binary.LittleEndian.Uint16(b[0x38:]) == 0xef53 {
		return
	}
	old := [][]byte{{0x7f, 0x13}, {0x8f, 0x13}, {0x68, 0x24}, {0x78, 0x24}, {0x13, 0x7f}, {0x13, 0x8f}, {0x24, 0x68}, {0x24, 0x78}}
	for _, text := range old {
		if bytes.Equal(b[16:18], text) && !bytes.Equal(b[:4], make([]byte, 4)) {
			s.add("minix", 1024)
			return
		}
	}
	if v3 := string(b[24:26]); v3 == "\x5a\x4d" || v3 == "\x4d\x5a" {
		s.add("minix", 1024)
	}
}

func (s *search) hfs() {
	b := s.at(1024, 32)
	if b == nil {
		return
	}
	switch version, size := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[20:]); {
	case string(b[:2]) == "H+" && version == 4, string(b[:2]) == "HX" && version == 5:
		s.add("hfsplus", 1024)
	case string(b[:2]) == "BD" && size != 0 && size%512 == 0:
		s.add("hfs", 1024)
	}
}

func (s *search) ufs() {
	for _, off := range []int64{0, 8 << 10, 64 << 10, 256 << 10} {
		b := s.at(off+0x55c, 4)
		if b == nil {
			continue
		}
		for _, v := range []uint32{binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b)} {
			if v == 0x19540119 || v == 0x00011954 || v == 0x00095014 || v == 0x00195612 || v == 0x05231994 {
				s.add("ufs", off)
				break
			}
		}
	}
}

// nilfs has its super block in block 1 and a copy near the end.
func (s *search) nilfs() {
	for _, off := range []int64{1024, (s.size/512 - 8) * 512} {
		if b := s.at(max(0, off), 8); b != nil && binary.LittleEndian.Uint32(b) == 2 && b[6] == 0x34 && b[7] == 0x34 {
			s.add("nilfs2", max(0, off))
		}
	}
}

// drbd keeps its internal meta data in the last 4 KiB.
func (s *search) drbd() {
	if b := s.at(-4096, 64); b != nil && s.size > 4096 {
		switch binary.BigEndian.Uint32(b[60:]) {
		case 0x83740267, 0x83740268, 0x8374026b, 0x8374026c, 0x8374026d:
			s.add("drbd", -4096)
		}
	}
}

// The kinds of a partition table inside of a partition.
const (
	TableDOS = "dos"
	TableGPT = "gpt"
)

// table finds a partition table inside: a whole disk was copied here once, or a
// machine has it for a disk.
func (s *search) table() {
	for _, off := range []int64{512, 4096, -512, -4096} {
		if b := s.at(off, 8); string(b) == "EFI PART" {
			s.add(TableGPT, off)
		}
	}
	b := s.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return
	}
	used := 0
	for e := b[446:510]; len(e) > 0; e = e[16:] {
		start, count := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		switch {
		case e[0]&^0x80 != 0, e[4] != 0 && start*512 >= s.size:
			return // boot code, or text
		case e[4] != 0 && start != 0 && count != 0:
			used++
		}
	}
	if used > 0 {
		s.add(TableDOS, 0)
	}
}
