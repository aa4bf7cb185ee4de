package pack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/tier"
)

// tool runs a foreign program that must succeed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	path := ""
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skipf("%s is not installed", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// secret is in every file that is deleted.
var secret = []byte("a key that was deleted")

// mounted does something in a mounted file system.
func mounted(t testing.TB, partition string, do func(dir string)) {
	t.Helper()
	tier.Root(t, "mounting needs root")
	dir := t.TempDir()
	mounttest.Do(t, func() {
		tool(t, "mount", "-o", "loop", partition, dir)
		defer mounttest.Unmount(t, dir)
		do(dir)
	})
}

// use fills a file system with files and deletes most of them.
func use(t testing.TB, dir string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i%5), fmt.Sprint(i)) }
	for i := range 400 {
		content := secret
		if i%3 == 0 {
			content = fmt.Appendf(nil, "file %d ", i)
		}
		if err := os.MkdirAll(filepath.Dir(name(i)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name(i), bytes.Repeat(content, 1+rng.IntN(6000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "sync", "-f", dir)
	for i := range 400 {
		if i%3 != 0 {
			if err := os.Remove(name(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// files is every regular file below dir with the hash of its content.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		p, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", sha256.Sum256(p))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// export gives the raw disk of a stored image back.
func export(t testing.TB, s *store.Store, name string) []byte {
	t.Helper()
	im, err := s.Image(name)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := os.ReadFile(filepath.Join(s.Dir(), "blobs", "sha256", im.Disk.Digest.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := golden.NewDecoder(im.Table)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	raw := make([]byte, im.Table.DiskSize)
	for i, c := range im.Table.All() {
		start, length := im.Table.Extent(i)
		if _, err := dec.Decode(i, blob[c.Offset:c.Offset+c.Length], raw[start:start+length]); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

const partStart = 1 << 20

// diskWith puts a partition on an MBR disk.
func diskWith(t testing.TB, partition string) []byte {
	t.Helper()
	p, err := os.ReadFile(partition)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "disk")
	raw := append(make([]byte, partStart), p...)
	raw = append(raw, bytes.Repeat(secret[:16], 1<<16)...) // behind it: nobody's, so kept
	if err := os.WriteFile(image, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("label: dos\n%d,%d,L\n", partStart/512, len(p)/512))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("sfdisk: %v\n%s", err, out)
	}
	if raw, err = os.ReadFile(image); err != nil {
		t.Fatal(err)
	}
	return raw
}

func addJob(t testing.TB, job Job, raw []byte) *Result {
	t.Helper()
	job.Disk = memory{bytes.NewReader(raw)}
	r, err := Add(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var fileSystems = []struct {
	name string
	size int64
	mkfs []string
	fsck []string
}{
	{"ext4", 80 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"}, []string{"e2fsck", "-f", "-n"}},
	{"ext4 1k", 80 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^flex_bg"}, []string{"e2fsck", "-f", "-n"}},
	{"ext4 bigalloc", 80 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "bigalloc"}, []string{"e2fsck", "-f", "-n"}},
	{"ext3 without sums", 80 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext3", "-b", "1024"}, []string{"e2fsck", "-f", "-n"}},
	{"ext2", 80 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext2", "-b", "2048"}, []string{"e2fsck", "-f", "-n"}},
	{"xfs", 304 << 20, []string{"mkfs.xfs", "-q", "-f"}, []string{"xfs_repair", "-n"}},
	{"xfs 1k", 304 << 20, []string{"mkfs.xfs", "-q", "-f", "-b", "size=1024"}, []string{"xfs_repair", "-n"}},
}

// What was deleted is gone, what was not is there, and the checkers of the file
// systems find nothing.
func TestFreeSpaceIsDropped(t *testing.T) {
	for _, tt := range fileSystems {
		t.Run(tt.name, func(t *testing.T) {
			size := tt.size
			partition := filepath.Join(t.TempDir(), "partition")
			tool(t, "truncate", "-s", fmt.Sprint(size), partition)
			tool(t, tt.mkfs[0], append(tt.mkfs[1:], partition)...)
			var want map[string]string
			mounted(t, partition, func(dir string) {
				use(t, dir)
				want = files(t, dir)
			})
			raw := diskWith(t, partition)
			if !bytes.Contains(raw[partStart:partStart+size], secret) {
				t.Fatal("the source has nothing to drop")
			}
			s := openStore(t, t.TempDir())
			dropped := addJob(t, Job{Store: s, Name: "dropped"}, raw)
			kept := addJob(t, Job{Store: s, Name: "kept", KeepFree: true}, raw)
			if dropped.Dropped < 5<<20 || kept.Dropped != 0 || dropped.Stored >= kept.Stored {
				t.Errorf("%d bytes dropped, %d stored; with KeepFree %d and %d", dropped.Dropped, dropped.Stored, kept.Dropped, kept.Stored)
			}
			if !bytes.Equal(export(t, s, "kept"), raw) {
				t.Error("with KeepFree the stored disk is another than the source")
			}
			got := export(t, s, "dropped")
			part := got[partStart : partStart+size]
			if bytes.Contains(part, secret) {
				t.Error("deleted content is still there")
			}
			if !bytes.Equal(got[partStart+size:], raw[partStart+size:]) || !bytes.Equal(got[:partStart], raw[:partStart]) {
				t.Error("bytes outside of the file system differ")
			}
			if err := os.WriteFile(partition, part, 0o600); err != nil {
				t.Fatal(err)
			}
			tool(t, tt.fsck[0], append(tt.fsck[1:], partition)...)
			mounted(t, partition, func(dir string) {
				if diff := cmp.Diff(want, files(t, dir)); diff != "" {
					t.Errorf("files (-source +stored):\n%s", diff)
				}
			})
			// The disk without its free space is stored as the disk with it.
			if again := addJob(t, Job{Store: s, Name: "again"}, got); again.Digest != dropped.Digest || again.Dropped != 0 {
				t.Errorf("the exported disk is stored as %s with %d bytes dropped; want %s and 0", again.Digest, again.Dropped, dropped.Digest)
			}
		})
	}
}

// A copy of a disk in use has maps that its log may change.
func TestFreeSpaceInUseIsKept(t *testing.T) {
	for _, tt := range fileSystems {
		if strings.Contains(tt.name, " ") {
			continue // one of each kind is enough
		}
		t.Run(tt.name, func(t *testing.T) {
			partition := filepath.Join(t.TempDir(), "partition")
			tool(t, "truncate", "-s", fmt.Sprint(tt.size), partition)
			tool(t, tt.mkfs[0], append(tt.mkfs[1:], partition)...)
			var raw []byte
			mounted(t, partition, func(dir string) {
				use(t, dir)
				tool(t, "sync", "-f", dir)
				raw = diskWith(t, partition)
			})
			s := openStore(t, t.TempDir())
			r := addJob(t, Job{Store: s, Name: "a"}, raw)
			if r.Dropped != 0 || !bytes.Equal(export(t, s, "a"), raw) {
				t.Errorf("%d bytes were dropped from a file system in use", r.Dropped)
			}
			if notes := fmt.Sprint(r.Notes); !strings.Contains(notes, "free space kept: partition 1: not cleanly unmounted") {
				t.Errorf("notes are %s; want one on the free space", notes)
			}
		})
	}
}

// A file system in the free space of another one would be lost.
func TestFreeSpaceUnderAnotherPartitionIsKept(t *testing.T) {
	partition := filepath.Join(t.TempDir(), "partition")
	tool(t, "truncate", "-s", "64M", partition)
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", partition)
	raw := diskWith(t, partition)
	const entry = 446 + 16 // the second: from 32 MiB on, 8 MiB
	copy(raw[entry:], "\x00\x00\x00\x00\x83\x00\x00\x00\x00\x00\x01\x00\x00\x40\x00\x00")
	for i := 32 << 20; i < 40<<20; i++ {
		raw[i] = 0xaa
	}
	s := openStore(t, t.TempDir())
	r := addJob(t, Job{Store: s, Name: "a"}, raw)
	if r.Dropped != 0 || !bytes.Equal(export(t, s, "a"), raw) {
		t.Errorf("%d bytes were dropped: notes %v", r.Dropped, r.Notes)
	}
}

// What a second signature, the partition's type or its name gives to another is
// nobody's to drop.
func TestFreeSpaceThatAnotherClaimsIsKept(t *testing.T) {
	const linux, zfs = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "6A898CC3-1DD2-11B2-99A6-080020736631"
	const size = 64 << 20
	partition := filepath.Join(t.TempDir(), "partition")
	tool(t, "truncate", "-s", fmt.Sprint(size), partition)
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-E", "resize=1000000000", partition)
	for name, tt := range map[string]struct {
		kind, name string
		marks      map[int64]string
		note       string
	}{
		"nobody": {linux, "root", nil, ""},
		"labels of a pool": {
			linux, "",
			map[int64]string{128 << 10: "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
			"the signature of zfs_member",
		},
		"labels of a pool at the end": {
			linux, "",
			map[int64]string{size - 128<<10: "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
			"the signature of zfs_member",
		},
		"half of a mirror": {
			linux, "",
			map[int64]string{size - 64<<10: "\xfc\x4e\x2b\xa9\x00\x00\x00\x00"},
			"the signature of linux_raid_member",
		},
		"second header of LUKS": {
			linux, "",
			map[int64]string{0x4000: "SKUL\xba\xbe", 0x4000 + 256: "\x00\x00\x00\x00\x00\x00\x40\x00"},
			"the signature of crypto_LUKS",
		},
		"such a header out of its place": {linux, "", map[int64]string{0x40000: "SKUL\xba\xbe"}, "the signature of crypto_LUKS"},
		"a table inside": {linux, "", map[int64]string{
			446: "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08\x00\x00",
			510: "\x55\xaa",
		}, "the signature of dos"},
		"boot code without a table":     {linux, "", map[int64]string{0: "\xeb\x63\x90GRUB", 510: "\x55\xaa"}, ""},
		"a type of ZFS":                 {zfs, "", nil, "its type (ZFS) is not that of a Linux file system"},
		"a type that nobody here knows": {"12345678-1234-4234-8234-123456789ABC", "", nil, "its type (12345678-1234-4234-8234-123456789abc)"},
		"a name":                        {linux, "zfs-0123456789abcdef", nil, "its name says zfs"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := make([]byte, partStart+size+partStart)
			p, err := os.ReadFile(partition)
			if err != nil {
				t.Fatal(err)
			}
			copy(raw[partStart:], p)
			copy(raw[partStart+20<<20:], bytes.Repeat(secret, 1<<16)) // where the file system is free
			for at, text := range tt.marks {
				copy(raw[partStart+at:], text)
			}
			image := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(image, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/usr/sbin/sfdisk", "-q", image)
			cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=%s, name=%q\n", partStart/512, size/512, tt.kind,
				tt.name))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Skipf("sfdisk: %v\n%s", err, out)
			}
			if raw, err = os.ReadFile(image); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, t.TempDir())
			r := addJob(t, Job{Store: s, Name: "a"}, raw)
			if tt.note == "" {
				if r.Dropped < 1<<20 {
					t.Errorf("%d bytes were dropped: notes %v", r.Dropped, r.Notes)
				}
				return
			}
			if r.Dropped != 0 || !bytes.Equal(export(t, s, "a"), raw) {
				t.Errorf("%d bytes were dropped: notes %v", r.Dropped, r.Notes)
			}
			if notes := fmt.Sprint(r.Notes); !strings.Contains(notes, "free space kept: partition 1: ") || !strings.Contains(notes, tt.note) {
				t.Errorf("notes are %s; want one with %q", notes, tt.note)
			}
		})
	}
}

// Every level gives the same disk, and is read by the program zstd.
func TestLevels(t *testing.T) {
	raw := sample(6)
	text := raw[golden.DefaultChunkSize : 2*golden.DefaultChunkSize]
	words := strings.Fields(tool(t, "sh", "-c", "cat /etc/services /etc/passwd /etc/protocols 2>/dev/null || true"))
	rng := rand.New(rand.NewPCG(9, 9))
	for n := 0; n < len(text)-64 && len(words) > 0; {
		n += copy(text[n:], words[rng.IntN(len(words))]+" ")
	}
	stored := map[Level]int64{}
	for _, level := range []Level{Fast, Default, Best} {
		s := openStore(t, t.TempDir())
		r := addJob(t, Job{Store: s, Name: "a", Level: level}, raw)
		if again := addJob(t, Job{Store: s, Name: "b", Level: level}, raw); again.Digest != r.Digest {
			t.Errorf("%v: the same disk is %s, then %s", level, r.Digest, again.Digest)
		}
		if !bytes.Equal(export(t, s, "a"), raw) {
			t.Errorf("%v: the stored disk is another", level)
		}
		im, err := s.Image("a")
		if err != nil {
			t.Fatal(err)
		}
		tool(t, "zstd", "-q", "-t", filepath.Join(s.Dir(), "blobs", "sha256", im.Disk.Digest.Hex()))
		stored[level] = r.Stored
		if got, err := ParseLevel(level.String()); got != level || err != nil {
			t.Errorf("ParseLevel(%q) = %v, %v", level, got, err)
		}
	}
	if stored[Best] >= stored[Default] || stored[Default] > stored[Fast] {
		t.Errorf("stored bytes are %v; want fewer at a better level", stored)
	}
}
