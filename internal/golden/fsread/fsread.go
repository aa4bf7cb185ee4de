// Package fsread reads ext2, ext3, ext4, XFS or FAT from an [io.ReaderAt].
//
// A golden image is foreign: mounting it would hand its bytes to the host's
// kernel, need root, and write its journal's blocks. Everything here is bounded
// by the size of the partition, so a hostile image can cost an error but
// neither a panic nor memory. An [FS] is one file system; a [Tree] joins
// several at mount points so that a symbolic link may cross them.
//
// Paths have the form of [io/fs]: relative to the root, no leading slash, "."
// for the root itself; [Rel] makes one from an absolute path. Links, absolute
// and relative, are followed inside the root only, as chroot(2) would.
//
//	f, err := fsread.Open(partition, size)
//	if err != nil { ... }
//	release, err := f.ReadFile("etc/os-release") // the link into usr/lib is followed
package fsread

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/golden/fsread/ext"
	"github.com/gild-dev/gild/internal/golden/fsread/fat"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/fsread/xfs"
)

// MaxReadFile is the largest file, in bytes, that ReadFile takes into memory.
// Larger ones are for Open.
const MaxReadFile = 64 << 20

// ErrCorrupt is wrapped by every error that blames the bytes of the file system
// and not the device below it.
var ErrCorrupt = volume.ErrCorrupt

// UnsupportedError says that a partition holds something known that this
// package does not read.
type UnsupportedError = volume.UnsupportedError

// ErrTooLarge is wrapped when a file is larger than the limit given for holding
// it in memory.
var ErrTooLarge = errors.New("file too large")

// FS is one file system, open for reading. It implements [io/fs.FS], ReadDirFS,
// ReadFileFS, StatFS and ReadLinkFS, and may be used by several goroutines at
// once if its reader may. An opened file is also an [io.ReaderAt] and
// [io.Seeker].
type FS struct {
	namespace
	sig   probe.Signature
	vol   volume.Volume
	dirty func() bool
	dirs  dirCache

	replayed bool
}

// Open recognises the file system in the first size bytes of r and reads its
// superblock. What it recognises but cannot read is an [*UnsupportedError].
func Open(r io.ReaderAt, size int64) (*FS, error) {
	sig, err := probe.Find(r, size)
	if err != nil {
		return nil, err
	}
	vol, err := open(sig.Kind, volume.NewDevice(r, size))
	if err != nil {
		return nil, err
	}
	f := &FS{sig: sig, vol: vol, dirty: vol.Dirty}
	f.root = f
	if v, ok := vol.(*ext.Volume); ok {
		if after, ok := v.Recovered(r, size); ok {
			f.vol, f.replayed = after, true
		}
	}
	if _, err := f.vol.Root(); err != nil {
		return nil, fmt.Errorf("open %s: root directory: %w", sig.Kind, err)
	}
	return f, nil
}

// open reads the superblock of a file system of the given kind.
func open(kind string, dev *volume.Device) (v volume.Volume, err error) {
	switch kind {
	case "ext2", "ext3", "ext4":
		v, err = ext.Open(dev)
	case "xfs":
		v, err = xfs.Open(dev)
	case "vfat":
		v, err = fat.Open(dev)
	default:
		return nil, &UnsupportedError{Kind: kind}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", kind, err)
	}
	return v, nil
}

// Kind is the file system's name as mount(8) takes it: "ext2", "ext3", "ext4",
// "xfs" or "vfat".
func (f *FS) Kind() string { return f.sig.Kind }

// UUID is the file system's identifier as blkid prints it; empty when it has
// none.
func (f *FS) UUID() string { return f.sig.UUID }

// Label is the volume label as blkid prints it; empty when it has none.
func (f *FS) Label() string { return f.sig.Label }

// Dirty reports that the file system was not cleanly unmounted, or that this
// cannot be told: unless it was [FS.Replayed], its journal may hold changes, so
// that what is read may be older than what a mount would show.
func (f *FS) Dirty() bool { return f.dirty() }

// Replayed reports that the journal of a [FS.Dirty] file system was replayed,
// in memory only: what is read is what a mount would show. Its maps of free
// space are not believed all the same, for what is stored is the device as it
// is.
func (f *FS) Replayed() bool { return f.replayed }

// Rel turns an absolute path, as configuration files hold it, into the form
// that [io/fs] takes. It never leaves the root.
func Rel(abs string) string {
	if p := strings.TrimPrefix(path.Clean("/"+abs), "/"); p != "" {
		return p
	}
	return "."
}
