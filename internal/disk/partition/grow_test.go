package partition

import (
	"bytes"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGrowAgainstJudges takes tables of sfdisk through both stages on a larger
// disk.
func TestGrowAgainstJudges(t *testing.T) {
	const imageSize = 100 * mib
	for _, tc := range []struct {
		name, script string
		sector       int
		diskSize     int64
		grown        int // number of the partition that must grow, 0 for none
	}{
		{"gpt 512", gptScript, 512, 300 * mib, 3},
		{"gpt 4096", gptScript, 4096, 300 * mib, 3},
		{"gpt, odd end", gptScript, 512, 300*mib + 512*7, 3},
		{"gpt, disk as large as the image", gptScript, 512, imageSize, 3},
		{"gpt, one sector more", gptScript, 512, imageSize + 512, 3},
		{"gpt, swap at the end", gptScript + "size=5M, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n", 512, 300 * mib, 0},
		{"gpt, last by place not by number", "label: gpt\n1: start=60000, size=1000\n2: start=4096, size=1000\n", 512, 300 * mib, 1},
		{"gpt, tight", "label: gpt\nfirst-lba: 34\nstart=34\n", 512, 300 * mib, 1},
		{"gpt, 4 entries", "label: gpt\ntable-length: 4\nsize=10M\n", 512, 300 * mib, 1},
		{"gpt, empty", "label: gpt\n", 512, 300 * mib, 0},
		{"mbr, FAT at the end", mbrScript, 512, 300 * mib, 0},
		{"mbr 512", "label: dos\nsize=10M,type=82\nsize=20M\n", 512, 300 * mib, 2},
		{"mbr 4096", "label: dos\nsize=10M,type=82\nsize=20M\n", 4096, 300 * mib, 2},
		{"mbr, extended at the end", "label: dos\n1: size=10M\n2: size=20M,type=5\n5: size=5M\n", 512, 300 * mib, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := sparse(t, imageSize)
			dev := path
			if tc.sector == 4096 {
				dev = loop4096(t, path)
			}
			run(t, tc.script, "sfdisk", "-q", "--no-reread", dev)
			before := sfdiskTable(t, dev)

			if err := os.Truncate(path, tc.diskSize); err != nil {
				t.Fatal(err)
			}
			if tc.sector == 4096 {
				run(t, "", "losetup", "-c", dev)
			}
			f := open(t, dev)
			plan, err := MoveBackup(f, imageSize, tc.diskSize, tc.sector)
			if err != nil {
				t.Fatal(err)
			}
			if wantNone := before.Scheme == MBR || tc.diskSize == imageSize; (len(plan.Edits) == 0) != wantNone {
				t.Errorf("MoveBackup gave %d edits; want none: %v (%s)", len(plan.Edits), wantNone, plan.Note)
			}
			checkEdits(t, plan, tc.sector)
			apply(t, f, plan)
			judge(t, dev, before.Scheme)
			if diff := cmp.Diff(before, sfdiskTable(t, dev)); diff != "" {
				t.Errorf("MoveBackup changed the table (-before +after):\n%s", diff)
			}

			plan, err = GrowLast(f, tc.diskSize, tc.sector, GrowOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(plan.Note)
			checkEdits(t, plan, tc.sector)
			apply(t, f, plan)
			judge(t, dev, before.Scheme)
			want := sfdiskTable(t, dev)
			for i := range before.Partitions {
				p := &before.Partitions[i]
				if p.Number != tc.grown {
					continue
				}
				if plan.Grown == nil {
					t.Fatalf("partition %d did not grow: %s", p.Number, plan.Note)
				}
				if plan.Grown.End()%mib != 0 || tc.diskSize-plan.Grown.End() >= 2*mib {
					t.Errorf("partition %d ends at %d of %d", p.Number, plan.Grown.End(), tc.diskSize)
				}
				p.Size = plan.Grown.Size
			}
			if tc.grown == 0 && plan.Grown != nil {
				t.Errorf("partition %d grew", plan.Grown.Number)
			}
			if diff := cmp.Diff(before, want); diff != "" {
				t.Errorf("GrowLast (-want +sfdisk):\n%s", diff)
			}

			plan, err = GrowLast(f, tc.diskSize, tc.sector, GrowOptions{})
			if err != nil || len(plan.Edits) != 0 || plan.Grown != nil {
				t.Errorf("growing again = %+v, %v; want nothing to do", plan, err)
			}
		})
	}
}

// checkEdits asserts what the documentation of Edit and Plan promises.
func checkEdits(t testing.TB, plan *Plan, sector int) {
	t.Helper()
	s := int64(sector)
	edits := slices.Clone(plan.Edits)
	slices.SortFunc(edits, func(a, b Edit) int { return int(a.Offset - b.Offset) })
	var end int64
	for _, e := range edits {
		n := int64(len(e.Data))
		if e.Offset%s != 0 || n%s != 0 || n == 0 || e.Offset < end || e.Offset == 0 && n != s {
			t.Errorf("edit of %d bytes at %d (previous end %d, sector %d)", n, e.Offset, end, sector)
		}
		end = e.Offset + n
	}
}

// TestMoveBackupFrom starts from every state of the backup.
func TestMoveBackupFrom(t *testing.T) {
	part := []rawEntry{{1, 40, 120}}
	sound := func() memory { return buildGPT(200, 512, 128, 128, part, nil) }
	for name, image := range map[string]memory{
		"backup at the end of the image":   sound(),
		"backup in the middle":             append(sound(), make([]byte, 50*512)...),
		"backup header damaged":            func() memory { m := sound(); m[199*512] ^= 1; return m }(),
		"backup entries damaged":           func() memory { m := sound(); m[198*512] ^= 1; return m }(),
		"backup cut off, usable area kept": sound()[:167*512],
		"primary header damaged":           func() memory { m := sound(); m[512] ^= 1; return m }(),
		"primary entries damaged":          func() memory { m := sound(); m[1024] ^= 1; return m }(),
		"primary zeroed":                   func() memory { m := sound(); clear(m[512 : 34*512]); return m }(),
		"wrong protective length":          func() memory { m := sound(); m[mbrEntries+mbrSectors] = 1; return m }(),
	} {
		const diskSize = 400 * 512
		disk := make(memory, diskSize)
		copy(disk, image)
		plan, err := MoveBackup(image, int64(len(image)), diskSize, 512)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkEdits(t, plan, 512)
		apply(t, disk, plan)
		if !bytes.Equal(disk, withTail(buildGPT(400, 512, 128, 128, part, nil), disk)) {
			t.Errorf("%s: the tables differ from those of a disk that was made at this size", name)
		}
		if again, err := MoveBackup(disk, diskSize, diskSize, 512); err != nil || len(again.Edits) != 0 {
			t.Errorf("%s: moving again = %d edits, %v; want none", name, len(again.Edits), err)
		}
	}
}

// withTail is want with the usable area of got, where remains of the old backup
// may lie.
func withTail(want, got memory) memory {
	copy(want[34*512:367*512], got[34*512:367*512])
	return want
}

// TestMoveBackupInterrupted writes any number of a plan's edits: a sound table
// stays readable.
func TestMoveBackupInterrupted(t *testing.T) {
	image := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 120}}, nil)
	want, err := Read(image, int64(len(image)), 512)
	if err != nil {
		t.Fatal(err)
	}
	disk := append(slices.Clone(image), make([]byte, 200*512)...)
	plan, err := MoveBackup(image, int64(len(image)), int64(len(disk)), 512)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Edits {
		for sector := range len(e.Data) / 512 {
			at := e.Offset + int64(sector)*512
			copy(disk[at:at+512], e.Data[sector*512:])
			got, err := Read(disk, int64(len(disk)), 512)
			if err != nil {
				t.Fatalf("after the sector at %d: %v", at, err)
			}
			if diff := cmp.Diff(want.Partitions, got.Partitions); diff != "" {
				t.Fatalf("after the sector at %d (-want +got):\n%s", at, diff)
			}
		}
	}
}

func TestMoveBackupKeepsVendorFields(t *testing.T) {
	image := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 120}}, func(h header) { copy(h[400:], "vendor") })
	disk := append(slices.Clone(image), make([]byte, 200*512)...)
	plan, err := MoveBackup(image, int64(len(image)), int64(len(disk)), 512)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, disk, plan)
	for _, at := range []int{512, len(disk) - 512} {
		if string(disk[at+400:at+406]) != "vendor" {
			t.Errorf("the reserved bytes of the header at %d are lost", at)
		}
	}
}

func TestMoveBackupRefuses(t *testing.T) {
	image := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 120}}, nil)
	n := int64(len(image))
	for name, diskSize := range map[string]int64{"smaller disk": n - 512, "odd disk": n + 1} {
		if plan, err := MoveBackup(image, n, diskSize, 512); err == nil {
			t.Errorf("%s: MoveBackup() = %+v; want an error", name, plan)
		}
	}
	// Cut so short that the partition lies where the backup must go.
	tight := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 166}}, nil)[:167*512]
	if plan, err := MoveBackup(tight, 167*512, 180*512, 512); err == nil {
		t.Errorf("MoveBackup() = %+v; want an error: the partition is in the way", plan)
	}
	// A disk that is all primary GPT.
	full := buildGPT(100, 512, 128, 128, nil, func(h header) { h.set64(hdrLastUsable, 33) })[:34*512]
	if plan, err := MoveBackup(full, 34*512, 50*512, 512); err == nil {
		t.Errorf("MoveBackup() = %+v; want an error: no room", plan)
	}
	if plan, err := GrowLast(image, n, 512, GrowOptions{Align: 1000}); err == nil {
		t.Errorf("GrowLast(Align: 1000) = %+v; want an error", plan)
	}
}

func TestGrowHybridKeepsMBR(t *testing.T) {
	image := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 120}}, nil)
	putMBR(image, 2, 0x83, 40, 81)
	disk := append(slices.Clone(image), make([]byte, 200*512)...)
	plan, err := MoveBackup(image, int64(len(image)), int64(len(disk)), 512)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Edits {
		if e.Offset == 0 {
			t.Error("the hybrid MBR was changed")
		}
	}
}

func TestGrowOptions(t *testing.T) {
	disk := buildGPT(8192, 512, 128, 128, []rawEntry{{1, 40, 120}}, nil)
	n := int64(len(disk))
	for _, tc := range []struct {
		opts GrowOptions
		end  int64 // 0: must not grow
	}{
		{GrowOptions{}, 0},
		{GrowOptions{Allow: func(Partition) bool { return true }}, 3 * mib},
		{GrowOptions{Allow: func(Partition) bool { return true }, Align: 4096}, (8192 - 33) * 512 / 4096 * 4096},
		{GrowOptions{Allow: func(Partition) bool { return true }, Align: 512}, (8192 - 33) * 512},
	} {
		plan, err := GrowLast(disk, n, 512, tc.opts)
		if err != nil {
			t.Fatal(err)
		}
		var end int64
		if plan.Grown != nil {
			end = plan.Grown.End()
		}
		if end != tc.end {
			t.Errorf("GrowLast(align %d) ends at %d; want %d (%s)", tc.opts.Align, end, tc.end, plan.Note)
		}
	}
}

// huge is a disk of any size of which only the first bytes are not zero.
type huge struct{ head []byte }

func (h huge) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(h.head)) {
		copy(p, h.head[off:])
	}
	return len(p), nil
}

func TestGrowMBRLimit(t *testing.T) {
	head := make([]byte, 512)
	putMBR(head, 0, 0x83, 2048, 4096)
	const diskSize = 3 << 40
	plan, err := GrowLast(huge{head}, diskSize, 512, GrowOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Grown == nil || plan.Grown.End() != math.MaxUint32*512/mib*mib || !strings.Contains(plan.Note, "stay unused") {
		t.Errorf("GrowLast() = %+v; want a partition that ends below 2 TiB and a note", plan)
	}
	apply(t, memory(head), plan)
	got, err := Read(huge{head}, diskSize, 512)
	if err != nil || got.Partitions[0].End() != plan.Grown.End() {
		t.Errorf("Read() = %+v, %v; want the end at %d", got, err, plan.Grown.End())
	}
}

func TestProtectiveLengthSaturates(t *testing.T) {
	image := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 120}}, nil)
	plan, err := MoveBackup(image, int64(len(image)), 3<<40, 512)
	if err != nil {
		t.Fatal(err)
	}
	lba0 := plan.Edits[len(plan.Edits)-1]
	if lba0.Offset != 0 || mbrEntryAt(lba0.Data, 0).count != math.MaxUint32 {
		t.Errorf("the last edit is at %d with a length of %d sectors", lba0.Offset, mbrEntryAt(lba0.Data, 0).count)
	}
}

func TestCHS(t *testing.T) {
	for lba, want := range map[uint64][]byte{
		0: {0, 1, 0}, 62: {0, 63, 0}, 63: {1, 1, 0}, 255 * 63: {0, 1, 1},
		300 * 255 * 63: {0, 0x41, 0x2c}, 1024 * 255 * 63: {0xfe, 0xff, 0xff}, 1 << 40: {0xfe, 0xff, 0xff},
	} {
		if got := chs(lba); !bytes.Equal(got, want) {
			t.Errorf("chs(%d) = % x; want % x", lba, got, want)
		}
	}
}
