package blockdev

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestClaimsAgainstMakers lets the real programs make the marks, whole and in
// the second partition of a disk, and has blkid say what they are.
func TestClaimsAgainstMakers(t *testing.T) {
	for _, tc := range []struct {
		blkid, want string
		size        int64
		loop        bool // the program wants a block device
		in          string
		make        []string // what makes it; FILE is the file, which goes last where it is not named
	}{
		{"crypto_LUKS", "luks", 32 * mib, false, "pass", []string{
			"cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations",
			"1000", "--key-file=-",
		}},
		{"crypto_LUKS", "luks", 32 * mib, false, "pass", []string{
			"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
			"--pbkdf-force-iterations", "1000", "--key-file=-",
		}},
		{"ocfs2", "cluster", 300 * mib, false, "y\n", []string{"mkfs.ocfs2", "-q", "-F", "-M", "local"}},
		{"gfs2", "cluster", 300 * mib, false, "", []string{"mkfs.gfs2", "-q", "-O", "-p", "lock_nolock"}},
		{"bcache", "bcache", 8 * mib, false, "", []string{"make-bcache", "-B"}},
		{"LVM2_member", "lvm", 32 * mib, true, "", []string{"pvcreate", "-qq", "-f", "--config", "devices{use_devicesfile=0}"}},
		{"drbd", "cluster", 32 * mib, true, "yes\nyes\nyes\n", []string{"drbdmeta", "--force", "0", "v08", "FILE", "internal", "create-md"}},
		{"drbd", "cluster", 32 * mib, true, "yes\nyes\nyes\n", []string{"drbdmeta", "--force", "0", "v09", "FILE", "internal", "create-md", "1"}},
	} {
		t.Run(strings.Join(tc.make[:min(5, len(tc.make))], " "), func(t *testing.T) {
			path := diskFile(t, nil)
			if err := os.Truncate(path, tc.size); err != nil {
				t.Fatal(err)
			}
			made := path
			if tc.loop {
				made = loop(t, path)
			}
			args := append(slices.Clone(tc.make[1:]), made)
			if at := slices.Index(args, "FILE"); at >= 0 {
				args = slices.Delete(args, len(args)-1, len(args))
				args[at] = made
			}
			run(t, tc.in, tc.make[0], args...)
			if got := strings.TrimSpace(run(t, "", "blkid", "-p", "-o", "value", "-s", "TYPE", path)); got != tc.blkid {
				t.Fatalf("blkid says %q; want %q", got, tc.blkid)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c := ReadContent(bytes.NewReader(raw), tc.size, 512)
			if !slices.Equal(c.Claims, []string{tc.want}) || len(c.Partitions) != 0 {
				t.Errorf("ReadContent() = %+v; want the claim %q", c, tc.want)
			}
			inPartition(t, raw, tc.want)
		})
	}
}

// inPartition puts what was made into a partition, which must then have the
// claim.
func inPartition(t *testing.T, raw []byte, want string) {
	t.Helper()
	size := int64(len(raw)) + 8*mib
	path := diskFile(t, nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	run(t, "label: gpt\nstart=1MiB, size=1MiB\nstart=4MiB, size="+strconv.Itoa(len(raw)/512)+", name=\"claimed one\"\n", "sfdisk", "-q", path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(raw, 4*mib); err != nil {
		t.Fatal(err)
	}
	c := ReadContent(f, size, 512)
	if len(c.Partitions) != 2 || len(c.Partitions[0].Claims) != 0 || !slices.Equal(c.Partitions[1].Claims, []string{want}) {
		t.Errorf("ReadContent() in a partition = %+v; want the claim %q on the second", c, want)
	}
	if !slices.Equal(c.Claims, []string{want}) || c.Partitions[1].Name != "claimed one" {
		t.Errorf("ReadContent() in a partition = %+v", c)
	}
}

// TestFileSystemLabels compares with blkid, on the whole disk.
func TestFileSystemLabels(t *testing.T) {
	for _, tc := range []struct {
		size int64
		make []string
	}{
		{8 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-L", "a label"}},
		{320 * mib, []string{"mkfs.xfs", "-q", "-L", "twelve chars"}},
		{16 * mib, []string{"mkfs.vfat", "-F16", "-n", "BOOT A"}},
		{64 * mib, []string{"mkfs.vfat", "-F32", "-n", "BOOT"}},
		{64 * mib, []string{"mkfs.vfat", "-F32"}},
		{128 * mib, []string{"mkfs.btrfs", "-q", "-L", "b-tree"}},
		{8 * mib, []string{"mkswap", "-q", "-L", "swapped"}},
	} {
		path := diskFile(t, nil)
		if err := os.Truncate(path, tc.size); err != nil {
			t.Fatal(err)
		}
		run(t, "", tc.make[0], append(tc.make[1:], path)...)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := ReadContent(f, tc.size, 512)
		blkid := func(tag string) string {
			out, _ := exec.CommandContext(t.Context(), "blkid", "-p", "-o", "value", "-s", tag, path).Output()
			return strings.TrimSpace(string(out))
		}
		if want := blkid("TYPE"); c.FileSystem != want || len(c.Claims) != 0 {
			t.Errorf("%v: ReadContent() = %+v; want %q", tc.make, c, want)
		}
		if want := blkid("LABEL"); c.Label != want {
			t.Errorf("%v: label %q; want %q", tc.make, c.Label, want)
		}
	}
}

// TestClaimsSynthetic covers what no program at hand makes. Each mark must be
// within what a flash wipes, or the disk would be claimed again behind the
// image.
func TestClaimsSynthetic(t *testing.T) {
	const size = 6*mib + 77*512
	le := func(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
	md := "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"
	copyOf := func(at uint64) string {
		b := make([]byte, 264)
		copy(b, "SKUL\xba\xbe\x00\x02")
		binary.BigEndian.PutUint64(b[256:], at)
		return string(b)
	}
	for _, tc := range []struct {
		want string
		off  int64
		data string
	}{
		{"md", 0, md},
		{"md", 4096, md},
		{"md", (size/512 - 16) &^ 7 * 512, md},
		{"md", size&^65535 - 65536, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00"},
		{"md", size - 1024, "Intel Raid ISM Cfg Sig. 1.3"},
		{"md", size - 512, "\xde\x11\xde\x11"},
		{"zfs", 128<<10 + 5*1024, le(0x00bab10c)},
		{"zfs", 384 << 10, le(0x00bab10c)},
		{"zfs", size&^(256<<10-1) - 128<<10, le(0x00bab10c)},
		{"zfs", size&^(256<<10-1) - 384<<10, "\x00\x00\x00\x00\x00\xba\xb1\x0c"},
		{"luks", 16 << 10, copyOf(16 << 10)},
		{"luks", 4 << 20, copyOf(4 << 20)},
		{"ceph", 0, "bluestore block device\n"},
		{"cluster", 1 << 20, "\x0d\xd0\x01\xc0"},
		{"cluster", 2 << 20, "\x5e\xf1\xab\x2f"},
		{"cluster", size&^4095 - 4096 + 60, "\x83\x74\x02\x6b"},
		{"cluster", size&^4095 - 4096 + 60, "\x83\x74\x02\x6d"},
	} {
		disk := make([]byte, size)
		copy(disk[tc.off:], tc.data)
		if c := ReadContent(bytes.NewReader(disk), size, 512); !slices.Equal(c.Claims, []string{tc.want}) {
			t.Errorf("%s at %d: ReadContent() = %+v", tc.want, tc.off, c)
		}
		for _, r := range SignatureRanges(size) {
			clear(disk[r.Offset : r.Offset+r.Length])
		}
		if c := ReadContent(bytes.NewReader(disk), size, 512); len(c.Claims) != 0 {
			t.Errorf("%s at %d: still %q after the ranges were zeroed", tc.want, tc.off, c.Claims)
		}
	}
}

// TestContentBehindTheGate reads what an interrupted flash leaves: the GPT is
// there, LBA 0 is not.
func TestContentBehindTheGate(t *testing.T) {
	path := diskFile(t, nil)
	if err := os.Truncate(path, 64*mib); err != nil {
		t.Fatal(err)
	}
	run(t,
		"label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\nstart=4MiB, size=8MiB, name=data, "+
			"type=4fbd7e29-9d25-41b8-afd0-062c0ceff05d\n", "sfdisk", "-q", path)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := ReadContent(bytes.NewReader(raw), 64*mib, 512)
	if got.TableID != "11111111-2222-4333-8444-555555555555" || got.Unsealed || len(got.Partitions) != 1 ||
		!slices.Equal(got.Claims, []string{"ceph"}) {
		t.Errorf("ReadContent() = %+v", got)
	}
	clear(raw[:512])
	begun := ReadContent(bytes.NewReader(raw), 64*mib, 512)
	got.Unsealed = true
	if diff := cmp.Diff(got, begun); diff != "" {
		t.Errorf("ReadContent() without LBA 0 (-with +without):\n%s", diff)
	}
	clear(raw[:mib]) // the primary too: the backup is left
	if again := ReadContent(bytes.NewReader(raw), 64*mib, 512); !again.Unsealed || len(again.Partitions) != 1 {
		t.Errorf("ReadContent() of the backup alone = %+v", again)
	}
	raw[510], raw[511], raw[450], raw[454], raw[458] = 0x55, 0xaa, 0xee, 1, 0xff
	clear(raw[len(raw)-512:])
	if c := ReadContent(bytes.NewReader(raw), 64*mib, 512); c.Damaged == "" {
		t.Errorf("ReadContent() of a protective MBR alone = %+v; want it damaged", c)
	}
}

// FuzzContent wants no panic, and answers that stay in bounds, from any disk.
func FuzzContent(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe\x00\x02"), uint32(0), uint32(4096), false)
	f.Add([]byte("\x83\x74\x02\x6d"), uint32(60), uint32(4096), true)
	f.Add([]byte("\x55\xaa"), uint32(510), uint32(1<<20), true)
	f.Fuzz(func(t *testing.T, data []byte, at, size uint32, big bool) {
		disk := make([]byte, size%(5<<20))
		copy(disk[min(int(at), len(disk)):], data)
		sector := 512
		if big {
			sector = 4096
		}
		c := ReadContent(bytes.NewReader(disk), int64(len(disk)), sector)
		for _, p := range c.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.End() > int64(len(disk)) || len(p.Label) > 128 {
				t.Errorf("ReadContent() = %+v of %d bytes", p, len(disk))
			}
			for _, claim := range p.Claims {
				if !slices.Contains(c.Claims, claim) {
					t.Errorf("%q of a partition is not among %q", claim, c.Claims)
				}
			}
		}
		_ = ReadContent(bytes.NewReader(disk), 1<<62, sector)
	})
}
