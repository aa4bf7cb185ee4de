package fsread_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// from is an offset from the end of the partition, in bytes.
func from(end int64) int64 { return matrixSize - end }

func le32(v uint32) string { return string(binary.LittleEndian.AppendUint32(nil, v)) }

func be32(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

// rareMarks are marks of what no program at hand makes, by a name.
func rareMarks() map[string][]marking {
	all := map[string][]marking{}
	one := func(name string, at int64, data string) {
		all[name] = append(all[name], marking{at, []byte(data)})
	}
	for at := int64(16 << 10); at <= 4<<20; at *= 2 {
		one(fmt.Sprintf("second header of LUKS2 at %d", at), at, "SKUL\xba\xbe\x00\x02")
	}
	for version := uint32(0x83740267); version <= 0x8374026d; version++ {
		one(fmt.Sprintf("DRBD %x", version), from(4096)+60, be32(version))
	}
	for _, sectors := range []int64{16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087} {
		one(fmt.Sprintf("Promise at %d sectors", sectors), from(512*sectors), "Promise Technology, Inc.")
	}
	for page := int64(4 << 10); page <= 64<<10; page *= 2 {
		for _, text := range []string{"SWAP-SPACE", "S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"} {
			one(fmt.Sprintf("%s in pages of %d", text, page), page-10, text)
		}
	}
	one("Adaptec", from(512), be32(0x37fc4d1e))
	one("Adaptec", from(256), "DPTM")
	one("Adaptec's first mark alone", from(512), be32(0x37fc4d1e))
	one("HighPoint 37x", 0x1220, "\xf0\x16\x78\x5a")
	one("HighPoint 37x, broken", 0x1220, "\xfd\x16\x78\x5a")
	one("HighPoint 45x", from(11*512), "\xf3\x16\x78\x5a")
	one("HighPoint 45x, broken", from(11*512), "\xfd\x16\x78\x5a")
	one("JMicron", from(512), "JM\x02\x00")
	one("Intel", from(1024), "Intel Raid ISM Cfg Sig. 1.0.00")
	one("LSI", from(512), "$XIDE$")
	one("NVIDIA", from(1024), "NVIDIA  ")
	one("DDF", from(512), "\xde\x11\xde\x11")
	one("DDF at the other place", from(257*512), "\xde\x11\xde\x11")
	one("Silicon Image", from(512), siliconImage())
	one("VIA", from(512), via())
	one("TuxOnIce", 0, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c")
	one("AIX", 0, "\xc9\xc2\xd4\xc1")
	one("Ultrix", 16<<10-72, le32(0x032957)+le32(1))
	one("BlueStore", 0, "bluestore block device")
	one("VMFS volume", 1<<20, "\x0d\xd0\x01\xc0")
	one("VMFS", 2<<20, "\x5e\xf1\xab\x2f")
	one("VDO", 0, "dmvdo001")
	one("UBI", 0, "UBI#")
	one("UBIFS", 0, "\x31\x18\x10\x06")
	one("snapshot", 0, "SnAp")
	one("LVM1", 0, "HM\x01\x00")
	one("Oracle ASM", 32, "ORCLDISK")
	one("BitLocker of Vista", 0, "\xeb\x52\x90-FVE-FS-")
	one("cramfs", 0, "\x45\x3d\xcd\x28")
	one("romfs", 0, "-rom1fs-")
	one("zonefs", 0, "SFOZ")
	one("ReFS", 0, "\x00\x00\x00ReFS\x00")
	one("NSS", 4096, "SPB5")
	one("VxFS", 1024, "\xf5\xfc\x01\xa5")
	one("squashfs 3", 0, "sqsh")
	one("High Sierra", 32<<10+9, "CDROM")
	return all
}

// siliconImage is the last sector of a disk of Silicon Image's firmware RAID,
// with its checksum.
func siliconImage() string {
	b := make([]byte, 512)
	binary.LittleEndian.PutUint32(b[0x60:], 0x2f000000)
	binary.LittleEndian.PutUint16(b[0x6c:], 2)
	var sum uint16
	for at := 0; at < 0x13e; at += 2 {
		sum += binary.LittleEndian.Uint16(b[at:])
	}
	binary.LittleEndian.PutUint16(b[0x13e:], -sum)
	return string(b)
}

// via is the last sector of a disk of VIA's firmware RAID, with its checksum.
func via() string {
	b := make([]byte, 51)
	b[0], b[1], b[2] = 0x55, 0xaa, 7
	for _, c := range b[:50] {
		b[50] += c
	}
	return string(b)
}

// TestMarksOnAnExt4 lays marks over an ext4, each of which contradicts that its
// free space is nobody's.
func TestMarksOnAnExt4(t *testing.T) {
	tool(t, "wipefs")
	base, image := blank(t, matrixSize), filepath.Join(t.TempDir(), "p")
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-E", "resize=1000000000", base)
	ext := marks(t, base)
	for name, rare := range rareMarks() {
		fresh(t, image, slices.Concat(ext, rare))
		judge(t, name, image)
	}
}
