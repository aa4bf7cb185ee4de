package fsread_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/tier"
)

// matrixSize is what every format below fits on, in bytes.
const matrixSize = 384 << 20

// format is one way to use a partition.
type format struct {
	name string
	make []string         // a program and its arguments; the image comes last
	mark func() []marking // or the marks alone, where the program wants a device of the kernel
}

// marking is bytes at a place of the partition.
type marking struct {
	at   int64
	data []byte
}

var formats = []format{
	{name: "ext2", make: []string{"mke2fs", "-q", "-F", "-t", "ext2"}},
	{name: "ext3", make: []string{"mke2fs", "-q", "-F", "-t", "ext3", "-b", "1024"}},
	{name: "ext4", make: []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"}},
	{name: "xfs", make: []string{"mkfs.xfs", "-q", "-f"}},
	{name: "fat16", make: []string{"mkfs.vfat", "-F", "16"}},
	{name: "fat32", make: []string{"mkfs.vfat", "-F", "32"}},
	{name: "btrfs", make: []string{"mkfs.btrfs", "-q", "-f"}},
	{name: "f2fs", make: []string{"mkfs.f2fs", "-q", "-f"}},
	{name: "ntfs", make: []string{"mkfs.ntfs", "-q", "-F", "-f"}},
	{name: "exfat", make: []string{"mkfs.exfat"}},
	{name: "jfs", make: []string{"mkfs.jfs", "-q"}},
	{name: "reiserfs", make: []string{"mkfs.reiserfs", "-q", "-ff"}},
	{name: "udf", make: []string{"mkfs.udf"}},
	{name: "nilfs2", make: []string{"mkfs.nilfs2", "-q", "-f"}},
	{name: "minix", make: []string{"mkfs.minix"}},
	{name: "minix3", make: []string{"mkfs.minix", "-3"}},
	{name: "bfs", make: []string{"mkfs.bfs"}},
	{name: "gfs2", make: []string{"mkfs.gfs2", "-q", "-O", "-p", "lock_nolock", "-j", "1", "-J", "8"}},
	{name: "ocfs2", make: []string{"mkfs.ocfs2", "-q", "-F", "-M", "local"}},
	{name: "swap", make: []string{"mkswap", "-f"}},
	{name: "swap of 64k pages", make: []string{"mkswap", "-f", "-p", "65536"}},
	{
		name: "LUKS1",
		make: strings.Fields("cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --key-file /dev/zero --keyfile-size 8"),
	},
	{
		name: "LUKS2",
		make: strings.Fields("cryptsetup -q luksFormat --type luks2 --pbkdf-force-iterations 4 --pbkdf-memory 32 --key-file /dev/zero " +
			"--keyfile-size 8"),
	},
	{name: "bcache", make: []string{"make-bcache", "--wipe-bcache", "-B"}},
	{name: "verity", mark: func() []marking {
		return []marking{{0, append([]byte("verity\x00\x00\x01\x00\x00\x00"), make([]byte, 500)...)}}
	}},
	{name: "LVM", mark: lvmMark},
	{name: "md 0.90", mark: func() []marking { return []marking{{matrixSize - 64<<10, md090()}} }},
	{name: "md 1.0", mark: func() []marking {
		return []marking{{(matrixSize/512 - 16) &^ 7 * 512, md1((matrixSize/512 - 16) &^ 7)}}
	}},
	{name: "md 1.1", mark: func() []marking { return []marking{{0, md1(0)}} }},
	{name: "md 1.2", mark: func() []marking { return []marking{{4096, md1(8)}} }},
	{name: "ZFS", mark: func() []marking {
		return slices.Concat(zfsLabel(0), zfsLabel(256<<10), zfsLabel(matrixSize-512<<10), zfsLabel(matrixSize-256<<10))
	}},
	{name: "ZFS at the end", mark: func() []marking {
		return slices.Concat(zfsLabel(matrixSize-512<<10), zfsLabel(matrixSize-256<<10))
	}},
	{name: "ZFS at the head", mark: func() []marking { return slices.Concat(zfsLabel(0), zfsLabel(256<<10)) }},
}

// lvmMark is the label sector of a physical volume, with the checksum that LVM
// keeps (lib/misc/crc.c).
func lvmMark() []marking {
	b := make([]byte, 512)
	copy(b, "LABELONE")
	binary.LittleEndian.PutUint64(b[8:], 1)
	binary.LittleEndian.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001")
	copy(b[32:], "abcdefGHIJklmnOPQRstuvWXYZ012345")
	crc := uint32(0xf597a6cf)
	for _, c := range b[20:] {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320*(crc&1)
		}
	}
	binary.LittleEndian.PutUint32(b[16:], crc)
	return []marking{{512, b}}
}

func md090() []byte {
	b := make([]byte, 4096)
	for i, v := range []uint32{0xa92b4efc, 0, 90, 0, 0, 1, 2, 3, 1, 0, 2} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	return b
}

// md1 is the super block of version 1 at a sector, with its checksum (mdadm,
// super1.c).
func md1(sector uint64) []byte {
	b := make([]byte, 256)
	binary.LittleEndian.PutUint32(b, 0xa92b4efc)
	binary.LittleEndian.PutUint32(b[4:], 1)
	copy(b[16:], "0123456789abcdef")
	binary.LittleEndian.PutUint64(b[144:], sector)
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		sum += uint64(binary.LittleEndian.Uint32(b[i:]))
	}
	binary.LittleEndian.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
	return b
}

// zfsLabel is one of the four labels of a pool's member: 8 KiB that it leaves
// alone, then its configuration and a ring of uberblocks.
func zfsLabel(at int64) []marking {
	b := make([]byte, 248<<10)
	copy(b[8<<10:], "\x01\x01\x00\x00a pool")
	for off := 120 << 10; off < len(b); off += 1024 {
		for i, v := range []uint64{0x00bab10c, 5000, uint64(off), 7, 1700000000} {
			binary.LittleEndian.PutUint64(b[off+8*i:], v)
		}
	}
	return []marking{{at + 8<<10, b}}
}

// use puts the format on an image that may hold another.
func (f format) use(t *testing.T, image string) {
	t.Helper()
	if f.make == nil {
		put(t, image, f.mark())
		return
	}
	run(t, f.make[0], append(f.make[1:len(f.make):len(f.make)], image)...)
}

// marks is what an image holds where any format has its signatures: 6 MiB at
// the head and 2 at the end, in pieces of 512 bytes that are not zero.
func marks(t *testing.T, image string) []marking {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []marking
	for _, r := range [][2]int64{{0, 6 << 20}, {matrixSize - 2<<20, matrixSize}} {
		b := make([]byte, r[1]-r[0])
		if _, err := f.ReadAt(b, r[0]); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); at += 512 {
			if piece := b[at : at+512]; !bytes.Equal(piece, make([]byte, 512)) {
				list = append(list, marking{r[0] + int64(at), piece})
			}
		}
	}
	return list
}

// fresh makes an image of these marks alone.
func fresh(t *testing.T, image string, list []marking) {
	t.Helper()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, image, list)
}

// put writes marks over what an image holds.
func put(t *testing.T, image string, list []marking) {
	t.Helper()
	w, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Truncate(matrixSize); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if _, err := w.WriteAt(m.data, m.at); err != nil {
			t.Fatal(err)
		}
	}
}

// wipefs is every signature that libblkid finds, by kind.
func wipefs(t *testing.T, image string) []string {
	t.Helper()
	var list struct {
		Signatures []struct{ Type string }
	}
	out := run(t, "wipefs", "--no-act", "--json", image)
	if strings.TrimSpace(out) != "" {
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("wipefs: %v: %s", err, out)
		}
	}
	var kinds []string
	for _, s := range list.Signatures {
		if !slices.Contains(kinds, s.Type) {
			kinds = append(kinds, s.Type)
		}
	}
	return kinds
}

// verdict is what blkid calls the partition; "ambivalent" where it cannot tell.
func verdict(t *testing.T, image string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "blkid"), "-p", "-o", "value", "-s", "TYPE", image).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 8 {
		return "ambivalent"
	}
	return strings.TrimSpace(string(out))
}

// TestEveryPairOfFormats puts every format over every other, as if its program
// wiped nothing, and those whose free space is dropped with their program, and
// holds what is found against libblkid: whatever that sees is seen, what it
// calls ambivalent is not taken for one of the two, and what it is sure of is
// called the same.
func TestEveryPairOfFormats(t *testing.T) {
	tier.Slow(t, "some 1100 images")
	tool(t, "wipefs")
	rows, holds := 0, map[string][]marking{}
	for _, f := range formats {
		if f.make != nil && exec.Command("which", f.make[0]).Run() != nil {
			t.Logf("no %s: %s is not installed", f.name, f.make[0])
			continue
		}
		image := blank(t, matrixSize)
		f.use(t, image)
		holds[f.name] = marks(t, image)
		judge(t, f.name, image)
	}
	image := filepath.Join(t.TempDir(), "p")
	for _, old := range formats {
		for _, young := range formats {
			if holds[old.name] == nil || holds[young.name] == nil || old.name == young.name {
				continue
			}
			fresh(t, image, slices.Concat(holds[old.name], holds[young.name]))
			judge(t, old.name+" under "+young.name, image)
			if rows++; slices.Contains([]string{"ext4", "xfs", "fat32"}, young.name) {
				fresh(t, image, holds[old.name])
				young.use(t, image)
				judge(t, old.name+", then "+young.name, image)
				rows++
			}
		}
	}
	t.Logf("%d formats, %d pairs", len(holds), rows)
}

// judge holds one image against libblkid.
func judge(t *testing.T, name, image string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sig, err := probe.Find(f, matrixSize)
	if err != nil {
		t.Fatal(err)
	}
	seen, says := wipefs(t, image), verdict(t, image)
	all := append([]string{sig.Kind}, sig.Others...)
	for _, kind := range seen {
		if kind == "dos" && (slices.Contains(all, "ntfs") || slices.Contains(all, "exfat")) {
			continue // their boot code lies where a table would be
		}
		if !slices.ContainsFunc(all, func(k string) bool { return alike(k, kind) }) {
			t.Errorf("%s: libblkid sees %v; Probe %+v", name, seen, sig)
		}
	}
	switch {
	case says == "ambivalent":
		if len(sig.Rivals) == 0 && !slices.Contains(sig.Others, "zfs_member") {
			t.Errorf("%s: ambivalent for blkid, %v; Probe is sure: %+v", name, seen, sig)
		}
	case says != "" && !alike(says, sig.Kind) && !slices.Contains(sig.Rivals, says):
		t.Errorf("%s: %s for blkid, %v; Probe %+v", name, says, seen, sig)
	}
}

// alike takes the kinds of one format for the same.
func alike(a, b string) bool {
	for _, format := range []string{"ext", "squashfs"} { // and a version
		if strings.HasPrefix(a, format) && strings.HasPrefix(b, format) {
			return len(a) <= len(format)+1 && len(b) <= len(format)+1
		}
	}
	return a == b
}
