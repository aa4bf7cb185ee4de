package partition

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

// keptDisk is a disk of sfdisk's making with a partition for a system and two
// for data.
func keptDisk(t testing.TB) (path string, entries []Entry) {
	t.Helper()
	path = sparse(t, 64*mib)
	run(t,
		"label: gpt\nstart=1MiB, size=8MiB\nstart=20MiB, size=10MiB, name=data\nstart=40MiB, name=more, "+
			"uuid=AAAAAAAA-1111-4222-8333-444444444444\n", "sfdisk", "-q", path)
	entries, err := Entries(open(t, path), 64*mib, 512, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	return path, entries
}

// TestMoveBackupKeeps puts two images over the disk; sgdisk and sfdisk judge
// the tables.
func TestMoveBackupKeeps(t *testing.T) {
	for _, tc := range []struct {
		name, image string
		want        []int // numbers of data and more
	}{
		{"own numbers", "start=1MiB, size=4MiB, type=uefi\n", []int{2, 3}},
		{"one is taken", "start=1MiB, size=4MiB, type=uefi\nstart=5MiB, size=4MiB\n", []int{1 + 3, 3}},
		{"both are taken", "start=1MiB, size=1MiB\nstart=2MiB, size=1MiB\nstart=3MiB, size=1MiB\n", []int{4, 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, entries := keptDisk(t)
			small := sparse(t, 12*mib)
			run(t, "label: gpt\n"+tc.image, "sfdisk", "-q", small)
			image, disk := open(t, small), open(t, path)
			if _, err := io.Copy(io.NewOffsetWriter(disk, 0), image); err != nil {
				t.Fatal(err)
			}
			plan, err := MoveBackup(disk, 12*mib, 64*mib, 512, entries...)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, disk, plan)
			judge(t, path, GPT)
			table, err := Read(disk, 64*mib, 512)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range entries {
				at := slices.IndexFunc(table.Partitions, func(p Partition) bool { return p.Number == tc.want[i] })
				if at < 0 {
					t.Fatalf("no partition %d in %+v", tc.want[i], table.Partitions)
				}
				got, want := table.Partitions[at], e.Partition
				want.Number = tc.want[i]
				if got != want {
					t.Errorf("kept as %+v; want %+v", got, want)
				}
			}
			// Growth stops before what was kept.
			grow, err := GrowLast(disk, 64*mib, 512, GrowOptions{Below: 12 * mib, Allow: func(Partition) bool { return true }})
			if err != nil || grow.Grown == nil || grow.Grown.End() != 20*mib {
				t.Fatalf("GrowLast() = %+v, %v; want growth to byte %d", grow, err, 20*mib)
			}
			apply(t, disk, grow)
			judge(t, path, GPT)
		})
	}
}

func TestMoveBackupCannotKeep(t *testing.T) {
	path, entries := keptDisk(t)
	mbr := sparse(t, 12*mib)
	run(t, "label: dos\nstart=1MiB, size=4MiB\n", "sfdisk", "-q", mbr)
	if _, err := MoveBackup(open(t, mbr), 12*mib, 64*mib, 512, entries...); err == nil || !strings.Contains(err.Error(), "only a GPT") {
		t.Errorf("MoveBackup() of an MBR = %v", err)
	}
	large := sparse(t, 32*mib)
	run(t, "label: gpt\nstart=1MiB, size=28MiB\n", "sfdisk", "-q", large)
	if _, err := MoveBackup(open(t, large), 32*mib, 64*mib, 512, entries...); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("MoveBackup() under a kept partition = %v", err)
	}
	if _, err := MoveBackup(open(t, path), 64*mib, 64*mib, 512, entries...); err == nil || !strings.Contains(err.Error(), "GUID of another") {
		t.Errorf("MoveBackup() with its own partitions = %v", err)
	}
	full := buildGPT(4096, 512, 128, 2, []rawEntry{{1, 100, 200}, {2, 300, 400}}, nil)
	if _, err := MoveBackup(full, 4096*512, 64*mib, 512, entries...); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("MoveBackup() of a full table = %v", err)
	}
	if _, err := Entries(open(t, path), 64*mib, 512, 4); err == nil {
		t.Error("Entries() of a partition that is not there = nil; want an error")
	}
}

// TestSecureBackup makes one where there is none, of what is left, and leaves
// alone one that will do.
func TestSecureBackup(t *testing.T) {
	path, entries := keptDisk(t)
	disk := open(t, path)
	if plan, err := SecureBackup(disk, 64*mib, 512, entries); err != nil || len(plan.Edits) != 0 {
		t.Fatalf("SecureBackup() of a sound disk = %+v, %v", plan, err)
	}
	for _, off := range []int64{64*mib - 512, 64*mib - 33*512, 64*mib - 20*512} {
		if _, err := disk.WriteAt(bytes.Repeat([]byte{0xff}, 512), off); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteAt(make([]byte, 512), 0); err != nil { // as in a flash
			t.Fatal(err)
		}
		plan, err := SecureBackup(disk, 64*mib, 512, entries)
		if err != nil || len(plan.Edits) != 1 || plan.Edits[0].Offset != 64*mib-33*512 {
			t.Fatalf("SecureBackup() = %+v, %v", plan, err)
		}
		apply(t, disk, plan)
		primary := make([]byte, 34*512)
		if _, err := disk.ReadAt(primary, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.WriteAt(make([]byte, len(primary)), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := Entries(disk, 64*mib, 512, 2, 3); err != nil || got[0].Partition != entries[0].Partition {
			t.Errorf("Entries() of the backup alone = %+v, %v", got, err)
		}
		if _, err := disk.WriteAt(primary, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzKeep: whatever the two tables are, what is kept comes out as it was, or
// not at all.
func FuzzKeep(f *testing.F) {
	f.Add(uint64(34), uint64(90), uint64(300), uint64(399), uint8(1), uint8(2))
	f.Add(uint64(34), uint64(90), uint64(80), uint64(500), uint8(1), uint8(1))
	f.Add(uint64(40), uint64(41), uint64(1<<63), uint64(1<<63), uint8(128), uint8(0))
	f.Fuzz(func(t *testing.T, first, last, keptFirst, keptLast uint64, n, slots uint8) {
		parts := make([]rawEntry, max(int(n), 1))
		parts[len(parts)-1] = rawEntry{9, keptFirst, keptLast}
		old := buildGPT(1024, 512, 128, max(len(parts), 128), parts, nil)
		entries, err := Entries(old, int64(len(old)), 512, len(parts))
		if err != nil {
			return
		}
		image := buildGPT(256, 512, 128, max(int(slots), 1), []rawEntry{{7, first, last}}, nil)
		plan, err := MoveBackup(image, int64(len(image)), int64(len(old)), 512, entries...)
		if err != nil {
			return
		}
		disk := memory(append(bytes.Clone(image), make([]byte, len(old)-len(image))...))
		apply(t, disk, plan)
		table, err := Read(disk, int64(len(disk)), 512)
		if err != nil {
			t.Fatalf("the table with what was kept: %v", err)
		}
		if !slices.ContainsFunc(table.Partitions, func(p Partition) bool {
			return p.Start == entries[0].Start && p.Size == entries[0].Size && p.GUID == entries[0].GUID
		}) {
			t.Errorf("%+v is not in %+v", entries[0].Partition, table.Partitions)
		}
	})
}
