package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/partition"
)

// partitionedLoop is a loop device that can have partitions, with a GPT of two.
func partitionedLoop(t *testing.T) (dev string, parts []partition.Partition) {
	t.Helper()
	file := diskFile(t, make([]byte, 64*mib))
	run(t, "label: gpt\nsize=1M\nsize=20M\n", "sfdisk", "-q", file)
	dev = loop(t, file, "-P")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := partition.Read(f, 64*mib, 512)
	if err != nil {
		t.Fatal(err)
	}
	return dev, table.Partitions
}

func wantKernel(t *testing.T, d *Device, parts []partition.Partition) {
	t.Helper()
	got, err := kernelPartitions(d.sysDir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]extent{}
	for _, p := range parts {
		want[p.Number] = extent{p.Start, p.Size}
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(extent{})); diff != "" {
		t.Errorf("the kernel's partitions (-want +got):\n%s", diff)
	}
}

// TestRereadPartitions runs both with and without a kernel that reads partition
// tables: what BLKRRPART leaves out, BLKPG adds.
func TestRereadPartitions(t *testing.T) {
	dev, parts := partitionedLoop(t)
	d := mustOpen(t, dev, Options{})
	for _, want := range [][]partition.Partition{parts, parts[1:], parts} {
		if err := d.RereadPartitions(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		wantKernel(t, d, want)
	}
	grown := []partition.Partition{parts[0], parts[1]}
	grown[1].Size += 10 * mib
	grown = append(grown, partition.Partition{Number: 7, Start: 40 * mib, Size: mib},
		partition.Partition{Number: 8, Start: 50 * mib, Size: mib, TypeName: "extended"})
	if err := d.RereadPartitions(t.Context(), grown); err != nil {
		t.Fatal(err)
	}
	wantKernel(t, d, grown[:3])
	if _, err := os.Stat(fmt.Sprintf("%sp2", dev)); err != nil {
		t.Errorf("the node of partition 2: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dev+"p2", Options{}); err == nil || isBusy(err, "") {
		t.Errorf("Open(%sp2) = %v; want a refusal of partitions", dev, err)
	}
}

// TestRereadPartitionsBusy keeps partition 1 open: BLKRRPART stays busy, BLKPG
// works on the others.
func TestRereadPartitionsBusy(t *testing.T) {
	dev, parts := partitionedLoop(t)
	calls := 0
	opts := Options{ops: ops{rereadPT: func(*os.File) error { calls++; return unix.EBUSY }}}
	d := mustOpen(t, dev, opts)
	if err := d.setPartitions(parts[:1]); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(dev + "p1")
	if err != nil {
		t.Skipf("no partition nodes here: %v", err)
	}
	defer held.Close()
	if err := d.RereadPartitions(t.Context(), parts); err != nil {
		t.Errorf("RereadPartitions() = %v; want success by BLKPG", err)
	}
	if calls < 2 {
		t.Errorf("BLKRRPART was tried %d times; want it tried again", calls)
	}
	wantKernel(t, d, parts)

	d.ops.rereadPT = func(*os.File) error { return unix.EINVAL } // no scanning at all
	if err := d.RereadPartitions(t.Context(), parts[1:]); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing a partition in use = %v; want EBUSY", err)
	}
	if err := d.RereadPartitions(t.Context(), nil); !errors.Is(err, unix.EINVAL) {
		t.Errorf("without a list = %v; want the kernel's EINVAL", err)
	}
}

func TestRereadPartitionsStops(t *testing.T) {
	opts := Options{ops: ops{rereadPT: func(*os.File) error { return unix.EBUSY }}}
	d := mustOpen(t, loop(t, diskFile(t, make([]byte, mib))), opts)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if err := d.RereadPartitions(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("RereadPartitions() = %v; want the deadline's error", err)
	}
}

func TestRereadPartitionsOfFile(t *testing.T) {
	d := mustOpen(t, diskFile(t, make([]byte, mib)), Options{AllowFile: true})
	if err := d.RereadPartitions(t.Context(), []partition.Partition{{Number: 1, Size: 512}}); err != nil {
		t.Errorf("RereadPartitions() = %v; want nothing to happen", err)
	}
}
