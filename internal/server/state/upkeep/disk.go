package upkeep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

// An etcd that meets a full disk ends. Two files grow: the log, by files that
// are allocated whole before they are needed, the next one always being there;
// and the database, whose next pages are allocated here. So a disk that fills
// at once leaves etcd room for as long as it takes to see that and close the
// state.
const (
	// pagesAhead is what the database may grow by between two glances, bytes.
	pagesAhead = 16 << 20
	// glanceEvery is how often the disk is looked at.
	glanceEvery = 250 * time.Millisecond
	// stuckAfter is how long the log may be without its next file: etcd asks
	// for it once only, and ends when that was in vain.
	stuckAfter = 5 * time.Second
)

var (
	// leastRoom is what etcd may ask of the disk at any moment, bytes.
	leastRoom = wal.SegmentSizeBytes + pagesAhead
	// roomAgain is the free space at which a state opens again.
	roomAgain = leastRoom + leastRoom/4
	// needed is the room for a new etcd, bytes: the log begins with two files.
	needed = 2*wal.SegmentSizeBytes + pagesAhead + roomAgain
)

var errStuck = errors.New("the disk was full when the log of the state needed its next file, and there is room now: start again")

// disk is the file system that an etcd keeps itself on.
type disk struct {
	dir      string // of etcd
	reserved int64  // size of the database that was made room for
	missing  time.Time
}

func newDisk(dir string) disk { return disk{dir: dir} }

// has reports whether so many bytes are free. A disk that does not say is taken
// to have them.
func (d *disk) has(bytes int64) bool {
	free, err := freeIn(d.dir)
	return err != nil || free >= bytes
}

// Room refuses a file system without space for a new etcd below dir, naming
// figures.
func Room(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "etcd", "member")); err == nil {
		return nil // its space is already reserved
	}
	free, err := freeIn(dir)
	if err == nil && free < needed {
		err = fmt.Errorf("%d MiB free, the state database needs %d: %w", free>>20, needed>>20, unix.ENOSPC)
	}
	return err
}

// freeIn is the free space of a directory's file system, bytes.
func freeIn(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// reserve allocates the pages that a database of this size grows by next. That
// it cannot shows as free space that is missing.
func (d *disk) reserve(size int64) {
	if size == d.reserved {
		return
	}
	f, err := os.OpenFile(filepath.Join(d.dir, "member", "snap", "db"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	from := max(0, size-pagesAhead)
	if unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, size+pagesAhead-from) == nil {
		d.reserved = size
	}
}

// stuck reports whether the log will never get its next file although there is
// room for it.
func (d *disk) stuck(now time.Time) bool {
	for _, name := range []string{"0.tmp", "1.tmp"} {
		info, err := os.Stat(filepath.Join(d.dir, "member", "wal", name))
		if err == nil && info.Size() >= wal.SegmentSizeBytes || err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.missing = time.Time{}
			return false
		}
	}
	if d.missing.IsZero() {
		d.missing = now
	}
	return now.Sub(d.missing) >= stuckAfter && d.has(roomAgain)
}
