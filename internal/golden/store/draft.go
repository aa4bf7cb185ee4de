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
}

// Draft begins a blob. The caller closes it, after a Commit too.
func (s *Store) Draft() (*Draft, error) {
	fd, err := unix.Open(s.blobDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("the file system of %s cannot hold unnamed files (O_TMPFILE): put the data directory on ext4, XFS, btrfs or tmpfs", s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("beginning a blob in %s: %w", s.blobDir(), err)
	}
	return &Draft{store: s, file: os.NewFile(uintptr(fd), "draft"), hash: sha256.New()}, nil
}

// Write appends to the blob.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("the store %s has no space left after %d bytes of this image: free some, or choose another --data: %w", d.store.dir, d.size, err)
	}
	return n, err
}

// ReadAt reads back what was written.
func (d *Draft) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// Descriptor describes what was written so far.
func (d *Draft) Descriptor(mediaType string) golden.Descriptor {
	return golden.Descriptor{MediaType: mediaType, Digest: golden.DigestFromSum(d.hash.Sum(nil)), Size: d.size}
}

// Close frees the draft; what was not committed is gone.
func (d *Draft) Close() error { return d.file.Close() }

// link makes the content durable, then gives it its digest as its name.
func (d *Draft) link() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("writing blob: %w", err)
	}
	name := filepath.Join(d.store.blobDir(), golden.DigestFromSum(d.hash.Sum(nil)).Hex())
	// linkat of /proc/self/fd needs no privilege, unlike AT_EMPTY_PATH
	// (open(2), O_TMPFILE).
	err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(d.file.Fd())), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing blob: %w", err)
	}
	if err := syncDir(d.store.blobDir()); err != nil {
		return fmt.Errorf("writing blob: %w", err)
	}
	return nil
}

// writeBlob stores p as a blob.
func (s *Store) writeBlob(p []byte) (golden.Digest, error) {
	d, err := s.Draft()
	if err != nil {
		return "", err
	}
	defer d.Close()
	if _, err := d.Write(p); err != nil {
		return "", fmt.Errorf("writing blob: %w", err)
	}
	return golden.DigestOf(p), d.link()
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
