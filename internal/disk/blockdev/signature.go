package blockdev

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/gild-dev/gild/internal/disk/partition"
)

// Range is a range of bytes on a disk.
type Range struct{ Offset, Length int64 }

// Where the marks of storage software are, at most, from either end of a disk.
const (
	// edge covers, at the head: MBR, primary GPT, LVM2 (first 2 KiB), md 1.1 and
	// 1.2 (0 and 4 KiB), bcache (4 KiB), ISO 9660 (32 KiB), btrfs (64 KiB), swap
	// (within 64 KiB), ZFS labels 0 and 1 (512 KiB) and the super blocks of ext4,
	// XFS and FAT. At the tail: backup GPT, md 1.0 (last 12 KiB) and 0.90 (last 128
	// KiB), ZFS labels 2 and 3 (last 512 KiB of the size rounded down to 256 KiB),
	// DDF and Intel firmware RAID (last sectors). Sources: md(4), mdadm's super0.c
	// and super1.c; OpenZFS vdev_label.c; btrfs on-disk format; SNIA DDF 2.0.
	edge = 1 << 20
	// LUKS2 keeps a second header at one of these places (LUKS2 On-Disk Format
	// 1.1.2, table 1) from which it can be recovered; the smaller ones are within
	// edge.
	luks2Header = 4096
	// btrfs keeps copies of its super block at 64 MiB and 256 GiB.
	btrfsSuper = 4096
)

// SignatureRanges gives the places on a disk of size bytes where remains of
// earlier use would be found by a later reader although the image does not
// mention them: what to zero before an image is written. Ranges are in order,
// apart from each other, inside the disk, and at most 3 MiB together.
func SignatureRanges(size int64) []Range {
	if size <= 0 {
		return nil
	}
	if size <= 2*edge {
		return []Range{{0, size}}
	}
	// A tail that starts at a sector of any size; then it is slightly longer than
	// edge.
	tail := (size - edge) / pageAlign * pageAlign
	ranges := []Range{{0, edge}}
	for _, r := range []Range{
		{1 << 20, luks2Header},
		{2 << 20, luks2Header},
		{4 << 20, luks2Header},
		{64 << 20, btrfsSuper},
		{256 << 30, btrfsSuper},
	} {
		if r.Offset+r.Length <= tail {
			ranges = append(ranges, r)
		}
	}
	return append(ranges, Range{tail, size - tail})
}

// Signatures tells in words what is on a disk of size bytes: "GPT, 3
// partitions", "ext4", "LVM2". Several answers are usual on a disk with a
// history. What cannot be read counts as absent: the answer informs a person
// and decides nothing.
func Signatures(r io.ReaderAt, size int64) []string {
	p := prober{r, size}
	var found []string
	if s := p.table(); s != "" {
		found = append(found, s)
	}
	for _, m := range magics {
		if m.name != "" && p.has(m) && !slices.Contains(found, m.name) {
			found = append(found, m.name)
		}
	}
	for _, probe := range []func() string{p.ext, p.fat, p.md, p.luks, p.zfs} {
		if s := probe(); s != "" {
			found = append(found, s)
		}
	}
	return found
}

// magic is a fixed text at a fixed place; negative offsets count from the end
// of the disk. One with a code is a claim, see [Content].
type magic struct {
	name   string
	offset int64
	text   string
	code   string
}

var magics = []magic{
	{"xfs", 0, "XFSB", ""},
	{"btrfs", 64<<10 + 64, "_BHRfS_M", ""},
	{"f2fs", 1024, "\x10\x20\xf5\xf2", ""},
	{"squashfs", 0, "hsqs", ""},
	{"iso9660", 32<<10 + 1, "CD001", ""},
	{"ntfs", 3, "NTFS    ", ""},
	{"exfat", 3, "EXFAT   ", ""},
	// The end of the first page, whose size is that of the machine which made it.
	{"swap", 4<<10 - 10, "SWAPSPACE2", ""},
	{"swap", 16<<10 - 10, "SWAPSPACE2", ""},
	{"swap", 64<<10 - 10, "SWAPSPACE2", ""},
	// LVM2 puts its label into any of the first four sectors, usually the second.
	{"LVM2", 0, "LABELONE", "lvm"},
	{"LVM2", 512, "LABELONE", "lvm"},
	{"LVM2", 1024, "LABELONE", "lvm"},
	{"LVM2", 1536, "LABELONE", "lvm"},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache"},
	// md assembles both kinds of firmware RAID.
	{"Intel firmware RAID", -1024, "Intel Raid ISM Cfg Sig. ", "md"},
	{"DDF firmware RAID", -512, "\xde\x11\xde\x11", "md"},
	{"", 0, "LUKS\xba\xbe", "luks"}, // named by its version: see luks
	{"Ceph", 0, "bluestore block device", "ceph"},
	// OCFS2 has its super block in block 2, of 512 to 4096 bytes.
	{"ocfs2", 1 << 10, "OCFSV2", "cluster"},
	{"ocfs2", 2 << 10, "OCFSV2", "cluster"},
	{"ocfs2", 4 << 10, "OCFSV2", "cluster"},
	{"ocfs2", 8 << 10, "OCFSV2", "cluster"},
	{"gfs2", 64 << 10, "\x01\x16\x19\x70\x00\x00\x00\x01", "cluster"},
	{"VMFS", 1 << 20, "\x0d\xd0\x01\xc0", "cluster"}, // a volume's member
	{"VMFS", 2 << 20, "\x5e\xf1\xab\x2f", "cluster"},
}

// prober reads bits of a disk; what is outside or unreadable reads as nothing.
type prober struct {
	r    io.ReaderAt
	size int64
}

func (p prober) at(off int64, n int) []byte {
	if off < 0 || off > p.size-int64(n) {
		return nil
	}
	b := make([]byte, n)
	if got, _ := p.r.ReadAt(b, off); got < n {
		return nil
	}
	return b
}

func (p prober) has(m magic) bool {
	return bytes.Equal(p.at(p.place(m), len(m.text)), []byte(m.text))
}

func (p prober) place(m magic) int64 {
	if m.offset < 0 {
		return m.offset + p.size
	}
	return m.offset
}

func (p prober) table() string {
	sector, ok := partition.DetectSectorSize(p.r, p.size)
	if !ok {
		sector = 512
	}
	t, err := partition.Read(p.r, p.size, sector)
	switch {
	case err != nil:
		return "damaged partition table"
	case t.Scheme == partition.None:
		return ""
	}
	name := map[partition.Scheme]string{partition.GPT: "GPT", partition.MBR: "MBR"}[t.Scheme]
	if len(t.Partitions) == 1 {
		return name + ", 1 partition"
	}
	return fmt.Sprintf("%s, %d partitions", name, len(t.Partitions))
}

// ext tells ext2, ext3 and ext4 apart as blkid does: by a journal and by
// features that the older ones do not know
// (Documentation/filesystems/ext4/super.rst).
func (p prober) ext() string {
	b := p.at(1024, 108)
	if b == nil || binary.LittleEndian.Uint16(b[56:]) != 0xef53 {
		return ""
	}
	const (
		hasJournal   = 0x4             // compatible
		ext3Incompat = 0x2 | 0x4       // file types, needs recovery
		ext3ROCompat = 0x1 | 0x2 | 0x4 // sparse super, large files, B-tree directories
	)
	compat, incompat, ro := binary.LittleEndian.Uint32(b[92:]), binary.LittleEndian.Uint32(b[96:]), binary.LittleEndian.Uint32(b[100:])
	switch {
	case incompat&^(ext3Incompat|0x10) != 0 || ro&^ext3ROCompat != 0: // 0x10: meta block groups
		return "ext4"
	case compat&hasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

// fat looks for the type texts of a FAT boot sector, which are not official but
// universal.
func (p prober) fat() string {
	b := p.at(0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return ""
	}
	if string(b[82:87]) == "FAT32" || string(b[54:58]) == "FAT1" {
		return "vfat"
	}
	return ""
}

func (p prober) md() string {
	name, _, _ := p.mdPlace()
	return name
}

// mdPlace looks for the super block of Linux software RAID in its four places
// (md(4)).
func (p prober) mdPlace() (name string, at int64, ok bool) {
	sectors := p.size / 512
	for _, place := range []struct {
		off  int64
		name string
	}{
		{0, "mdraid 1.1"},
		{4096, "mdraid 1.2"},
		{(sectors - 16) &^ 7 * 512, "mdraid 1.0"},
		{p.size&^(64<<10-1) - 64<<10, "mdraid 0.90"},
	} {
		b := p.at(place.off, 8)
		if b == nil {
			continue
		}
		// 0.90 is in the byte order of its machine and says its major version 0; 1.x is
		// little-endian.
		little := binary.LittleEndian.Uint32(b) == 0xa92b4efc && binary.LittleEndian.Uint32(b[4:]) <= 1
		if little || place.name == "mdraid 0.90" && binary.BigEndian.Uint32(b) == 0xa92b4efc {
			return place.name, place.off, true
		}
	}
	return "", 0, false
}

func (p prober) luks() string {
	b := p.at(0, 8)
	if b == nil || string(b[:6]) != "LUKS\xba\xbe" {
		return ""
	}
	if version := binary.BigEndian.Uint16(b[6:]); version == 1 || version == 2 {
		return fmt.Sprintf("LUKS%d", version)
	}
	return "LUKS"
}

func (p prober) zfs() string {
	if _, ok := p.zfsPlace(); ok {
		return "ZFS"
	}
	return ""
}

// zfsPlace looks for an uberblock in any of the four labels: each of 256 KiB,
// its second half an array of uberblocks of at least 1 KiB in the byte order of
// the machine (OpenZFS, vdev_impl.h).
func (p prober) zfsPlace() (int64, bool) {
	const label, ring = 256 << 10, 128 << 10
	end := p.size &^ (label - 1)
	for _, at := range []int64{0, label, end - 2*label, end - label} {
		b := p.at(at+label-ring, ring)
		for ; len(b) >= 1024; b = b[1024:] {
			if binary.LittleEndian.Uint64(b) == 0x00bab10c || binary.BigEndian.Uint64(b) == 0x00bab10c {
				return at, true
			}
		}
	}
	return 0, false
}
