package blockdev

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
	"github.com/gild-dev/gild/internal/disk/partition"
)

// The kernel answers BLKRRPART with EBUSY while anything, often udev, has a
// partition open.
const rereadPatience = 2 * time.Second

// RereadPartitions makes the kernel's partitions those of the table that is on
// the disk now. want are its partitions as read from there; with none, the
// kernel's own reading is all that happens.
//
// BLKRRPART replaces all partitions at once and is retried while it is refused.
// Where it keeps failing, or where the kernel cannot read this kind of table,
// partitions are removed and added one by one (BLKPG), which leaves alone those
// that are right already. Extended MBR partitions are left to the kernel. A
// file has no partitions: nothing happens.
func (d *Device) RereadPartitions(ctx context.Context, want []partition.Partition) error {
	if !d.id.block {
		return nil
	}
	reread := d.reread(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("re-reading the partition table of %s: %w", d.path, err)
	}
	if len(want) == 0 {
		if reread != nil {
			return fmt.Errorf("re-reading the partition table of %s: %w", d.path, reread)
		}
		return nil
	}
	if err := d.setPartitions(want); err != nil {
		return fmt.Errorf("re-reading the partition table of %s: %w", d.path, errors.Join(reread, err))
	}
	return nil
}

func (d *Device) reread(ctx context.Context) error {
	// Through the descriptor that holds the claim: on another one the kernel would
	// refuse it.
	return busy.While(ctx, rereadPatience, func() error { return d.ops.rereadPT(d.file) })
}

// extent is a partition's place in bytes.
type extent struct{ start, size int64 }

// setPartitions brings the kernel's list to want, touching only what differs.
func (d *Device) setPartitions(want []partition.Partition) error {
	have, err := kernelPartitions(d.sysDir)
	if err != nil {
		return err
	}
	add := make(map[int]extent)
	for _, p := range want {
		if p.TypeName == "extended" {
			delete(have, p.Number)
			continue
		}
		e := extent{p.Start, p.Size}
		if have[p.Number] == e {
			delete(have, p.Number)
			continue
		}
		add[p.Number] = e
	}
	for number := range have {
		if err := blkpg(d.file, unix.BLKPG_DEL_PARTITION, number, extent{}); err != nil {
			return fmt.Errorf("removing partition %d from the kernel: %w", number, err)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(add)) {
		if err := blkpg(d.file, unix.BLKPG_ADD_PARTITION, number, add[number]); err != nil {
			return fmt.Errorf("adding partition %d to the kernel: %w", number, err)
		}
	}
	return nil
}

// kernelPartitions reads the partitions of the disk in dir. sysfs counts in 512
// bytes whatever the sector size.
func kernelPartitions(dir string) (map[int]extent, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	have := make(map[int]extent)
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if !e.IsDir() || !isPartition(sub) {
			continue
		}
		number, err1 := strconv.Atoi(attr(sub, "partition"))
		start, err2 := strconv.ParseInt(attr(sub, "start"), 10, 64)
		size, err3 := strconv.ParseInt(attr(sub, "size"), 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("reading %s: %w", sub, err)
		}
		have[number] = extent{start * 512, size * 512}
	}
	return have, nil
}

// blkpg is one BLKPG request (linux/blkpg.h).
func blkpg(disk *os.File, op int32, number int, e extent) error {
	p := &unix.BlkpgPartition{Start: e.start, Length: e.size, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(*p)), Data: (*byte)(unsafe.Pointer(p))}
	return ioctl(disk, unix.BLKPG, unsafe.Pointer(&arg))
}
