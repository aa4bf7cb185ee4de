package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden"
)

// Draft is a blob in the making. It has no name in any directory until Commit
// gives it one, so whatever happens before that leaves nothing behind.
type Draft struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
	known golden.Digest // of one that was hashed before; empty: hash says it
}

// Draft begins a blob. The caller closes it, after a Commit too.
func (s *Store) Draft() (*Draft, error) {
	if err := s.create(); err != nil {
		return nil, err
	}
	fd, err := unix.Open(s.blobDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("the file system of %s cannot hold unnamed files (O_TMPFILE): put the data directory on ext4, XFS, btrfs or tmpfs",
			s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning a blob in %s: %w", s.blobDir(), s.explain(err))
	}
	return &Draft{store: s, file: os.NewFile(uintptr(fd), "draft"), hash: sha256.New()}, nil
}

// Write appends to the blob.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	return n, d.store.explain(err)
}

// ReadAt reads back what was written.
func (d *Draft) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// Descriptor describes what was written so far.
func (d *Draft) Descriptor(mediaType string) golden.Descriptor {
	return golden.Descriptor{MediaType: mediaType, Digest: d.digest(), Size: d.size}
}

// Close frees the draft; what was not committed is gone.
func (d *Draft) Close() error { return d.file.Close() }

func (d *Draft) digest() golden.Digest {
	if d.known != "" {
		return d.known
	}
	return golden.DigestFromSum(d.hash.Sum(nil))
}

// path is where the blob is found once it has its name.
func (d *Draft) path() string { return filepath.Join(d.store.blobDir(), d.digest().Hex()) }

// sync makes the content durable.
func (d *Draft) sync() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("writing blob: %w", err)
	}
	return nil
}

// link gives the content its digest as its name, and says whether the name is
// new. A blob that has the name already is replaced: it may have rotted since,
// and adding an image again is how an operator mends it. The lock is held.
func (d *Draft) link() (isNew bool, err error) {
	err = d.linkTo(d.path())
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	tmp := d.store.path(".blob-" + d.digest().Hex())
	if err := d.linkTo(tmp); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	if err := os.Rename(tmp, d.path()); err != nil {
		_ = os.Remove(tmp)
		return false, fmt.Errorf("writing blob: %w", err)
	}
	return false, nil
}

func (d *Draft) linkTo(path string) error {
	// linkat of /proc/self/fd needs no privilege, unlike AT_EMPTY_PATH
	// (open(2), O_TMPFILE).
	if err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(d.file.Fd())), unix.AT_FDCWD, path,
		unix.AT_SYMLINK_FOLLOW); err != nil {
		return fmt.Errorf("writing blob: %w", err)
	}
	return nil
}

// lockWait is how long a writer waits for another one: commits and removals
// take milliseconds.
const lockWait = 30 * time.Second

// lock keeps other writers out, in this process and in others.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking image store: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("locking image store %s: another gild writes to it: %w", s.dir, ctx.Err())
		}
	}
}
