package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/backoff"
)

// ioctl numbers of online growth.
const (
	ext4ResizeFS  = 0x40086610 // EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64): linux/fs/ext4/ext4.h
	xfsGeometryV1 = 0x80705864 // XFS_IOC_FSGEOMETRY_V1, _IOR('X', 100, 112 bytes): xfs_fs.h
	xfsGrowFSData = 0x4010586e // XFS_IOC_FSGROWFSDATA, _IOW('X', 110, 16 bytes)
)

// CanGrow reports whether Grow knows the file system.
func CanGrow(fsType string) bool { return fsType == "ext4" || fsType == "ext3" || fsType == "xfs" }

// Grow extends the file system that is mounted writable at dir to size bytes,
// the size of its partition, and returns its size before and after in bytes.
// A file system that fills its partition already stays as it is.
func Grow(dir, fsType string, size int64) (before, after int64, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("growing %s: %w", dir, err)
	}
	defer f.Close()
	switch fsType {
	case "ext4", "ext3":
		before, after, err = growExt4(f, size)
	case "xfs":
		before, after, err = growXFS(f, size)
	default:
		return 0, 0, fmt.Errorf("growing %s: %q cannot be grown while mounted", dir, fsType)
	}
	if err != nil {
		return before, before, fmt.Errorf("growing %s (%s): %w", dir, fsType, err)
	}
	return before, after, nil
}

// GrowWhenWritable is Grow for the root of a system that has just started: it
// has patience until that is mounted writable.
func GrowWhenWritable(ctx context.Context, dir, fsType string, size int64, patience time.Duration) (before, after int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		before, after, err = Grow(dir, fsType, size)
		if !errors.Is(err, unix.EROFS) || backoff.Sleep(ctx, writableEvery) != nil {
			return before, after, err
		}
	}
}

// writableEvery is how often it is tried whether a file system is writable.
const writableEvery = 200 * time.Millisecond

func growExt4(f *os.File, size int64) (before, after int64, err error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return 0, 0, err
	}
	// statfs leaves out the file system's own tables, so it tells the block
	// size but not what is there; asking for the size it has is harmless.
	blocks := uint64(size / s.Bsize)
	before = int64(s.Blocks) * s.Bsize
	if err := ioctl(f, ext4ResizeFS, unsafe.Pointer(&blocks)); err != nil {
		return before, before, err
	}
	return before, int64(blocks) * s.Bsize, nil
}

// xfsGeometry is struct xfs_fsop_geom_v1 (xfs_fs.h), 112 bytes.
type xfsGeometry struct {
	BlockSize, RTExtSize, AGBlocks, AGCount   uint32
	LogBlocks, SectSize, InodeSize, IMaxPct   uint32
	DataBlocks, RTBlocks, RTExtents, LogStart uint64
	UUID                                      [16]byte
	SUnit, SWidth                             uint32
	Version                                   int32
	Flags, LogSectSize, RTSectSize            uint32
	DirBlockSize                              uint32
	_                                         uint32
}

// xfsGrow is struct xfs_growfs_data, 16 bytes.
type xfsGrow struct {
	NewBlocks uint64
	IMaxPct   uint32
	_         uint32
}

func growXFS(f *os.File, size int64) (before, after int64, err error) {
	var geometry xfsGeometry
	if err := ioctl(f, xfsGeometryV1, unsafe.Pointer(&geometry)); err != nil {
		return 0, 0, err
	}
	block := int64(geometry.BlockSize)
	if block <= 0 {
		return 0, 0, fmt.Errorf("block size %d", block)
	}
	before = int64(geometry.DataBlocks) * block
	grow := xfsGrow{NewBlocks: uint64(size / block), IMaxPct: geometry.IMaxPct}
	if grow.NewBlocks <= geometry.DataBlocks {
		return before, before, nil
	}
	if err := ioctl(f, xfsGrowFSData, unsafe.Pointer(&grow)); err != nil {
		return before, before, err
	}
	// A rest too small for an allocation group stays unused: ask what it became.
	if err := ioctl(f, xfsGeometryV1, unsafe.Pointer(&geometry)); err != nil {
		return before, before, err
	}
	return before, int64(geometry.DataBlocks) * block, nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
