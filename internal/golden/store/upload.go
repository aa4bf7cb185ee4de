package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden"
)

// Blobs that arrive piece by piece, over days if need be, wait below uploads
// until an image names them: HEX as far as it has come, HEX.whole once it
// hashed to its digest.
const (
	uploadDir   = "uploads"
	wholeSuffix = ".whole"

	// uploadKept is how long one that nothing is added to is kept.
	uploadKept = 24 * time.Hour
	// maxUploads bounds how many there are at a time.
	maxUploads = 256
	// spareRoom is what an upload leaves free on the file system, in bytes.
	spareRoom = 1 << 30
)

// Reasons why bytes of a blob are not taken. What was taken before stays.
var (
	// ErrOffset: they do not resume where the blob ends so far.
	ErrOffset = errors.New("the bytes do not continue what has arrived")
	// ErrBusy: another request adds to the blob at the moment.
	ErrBusy = errors.New("another upload of the same blob is under way")
	// ErrDigest: the blob is whole, and is not what its digest says. All of it is
	// gone.
	ErrDigest = errors.New("the bytes are not those of the digest")
	// ErrRoom: the store has no room for it.
	ErrRoom = errors.New("the store has no room for it")
)

// Uploads are the blobs that arrive for a store. Its methods are safe for
// concurrent use, also by several processes.
type Uploads struct{ store *Store }

// Uploads are those of this store.
func (s *Store) Uploads() Uploads { return Uploads{s} }

// Received tells how many bytes of a blob are here, and whether that is all of
// it.
func (u Uploads) Received(d golden.Digest) (n int64, whole bool, err error) {
	if _, err := golden.ParseDigest(string(d)); err != nil {
		return 0, false, err
	}
	for _, place := range []struct {
		path  string
		whole bool
	}{{filepath.Join(u.store.blobDir(), d.Hex()), true}, {u.path(d) + wholeSuffix, true}, {u.path(d), false}} {
		info, err := os.Stat(place.path)
		if err == nil {
			return info.Size(), place.whole, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, false, fmt.Errorf("looking for blob %s: %w", d.Short(), err)
		}
	}
	return 0, false, nil
}

func (u Uploads) path(d golden.Digest) string { return u.store.path(uploadDir, d.Hex()) }

// Receive appends what r gives to a blob of size bytes, from offset on, which
// is where it ends so far. It returns how much of it is here then, also with an
// error: what has arrived stays, and goes when nothing is added for a day. A
// blob that is whole is held against its digest.
func (u Uploads) Receive(d golden.Digest, size, offset int64, r io.Reader) (n int64, err error) {
	n, whole, err := u.Received(d)
	switch {
	case err != nil || whole:
		return n, err
	case size <= 0 || offset > size:
		return n, fmt.Errorf("blob %s of %d bytes from %d on: %w", d.Short(), size, offset, ErrOffset)
	}
	f, err := u.open(d)
	if err != nil {
		return n, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return n, fmt.Errorf("receiving blob %s: %w", d.Short(), err)
	}
	if n = info.Size(); n != offset {
		return n, fmt.Errorf("blob %s has %d bytes so far, not %d: %w", d.Short(), n, offset, ErrOffset)
	}
	if err := u.roomFor(size - n); err != nil {
		return n, fmt.Errorf("blob %s of %d bytes: %w", d.Short(), size, err)
	}
	sum := sha256.New()
	got, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, size-n))
	n += got
	if err != nil {
		return n, fmt.Errorf("receiving blob %s: %w", d.Short(), u.store.explain(err))
	}
	if n < size {
		return n, nil
	}
	if offset > 0 { // the sum is only of what came last
		sum.Reset()
		if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
			return n, fmt.Errorf("reading blob %s: %w", d.Short(), err)
		}
	}
	return u.settle(d, f, n, golden.DigestFromSum(sum.Sum(nil)))
}

// settle keeps a blob that is what its digest says, and drops another.
func (u Uploads) settle(d golden.Digest, f *os.File, n int64, is golden.Digest) (int64, error) {
	if is != d {
		return 0, errors.Join(fmt.Errorf("blob %s hashes to %s: %w", d.Short(), is.Short(), ErrDigest), os.Remove(u.path(d)))
	}
	if err := f.Sync(); err != nil {
		return n, fmt.Errorf("receiving blob %s: %w", d.Short(), u.store.explain(err))
	}
	return n, os.Rename(u.path(d), u.path(d)+wholeSuffix)
}

// open opens a blob to append to it, for one at a time.
func (u Uploads) open(d golden.Digest) (*os.File, error) {
	if err := u.store.create(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(u.store.path(uploadDir), 0o755); err != nil {
		return nil, fmt.Errorf("receiving blob %s: %w", d.Short(), u.store.explain(err))
	}
	if kept, err := u.Sweep(time.Now()); err != nil {
		return nil, err
	} else if kept >= maxUploads {
		return nil, fmt.Errorf("%d blobs are being uploaded already: %w", kept, ErrRoom)
	}
	f, err := os.OpenFile(u.path(d), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("receiving blob %s: %w", d.Short(), u.store.explain(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrBusy)
	}
	// Whoever had the lock a moment ago may have given it another name.
	mine, err1 := f.Stat()
	now, err2 := os.Stat(u.path(d))
	if err1 != nil || err2 != nil || !os.SameFile(mine, now) {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrBusy)
	}
	return f, nil
}

// Sweep removes the blobs that nobody continues with, and counts the others.
func (u Uploads) Sweep(now time.Time) (kept int, err error) {
	entries, err := os.ReadDir(u.store.path(uploadDir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking for old uploads: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > uploadKept {
			err = os.Remove(filepath.Join(u.store.path(uploadDir), e.Name()))
		} else {
			kept++
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, fmt.Errorf("removing an old upload: %w", err)
		}
	}
	return kept, nil
}

// roomFor refuses what would fill the file system.
func (u Uploads) roomFor(bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(u.store.dir, &st); err != nil {
		return fmt.Errorf("looking for room in %s: %w", u.store.dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; bytes > free-spareRoom {
		return fmt.Errorf("%w: %d bytes are free, %d of them are left so", ErrRoom, free, spareRoom)
	}
	return nil
}

// Commit gives an image its name whose blobs were received, or are here
// already. It returns the identity of the image, and of the one that had the
// name before; empty: none had. A blob that is missing is an [ErrMissing], and
// nothing has changed.
func (u Uploads) Commit(ctx context.Context, name string, manifest []byte) (image, before golden.Digest, err error) {
	m, err := golden.ParseManifest(manifest)
	if err != nil {
		return "", "", err
	}
	var drafts []*Draft
	defer func() {
		for _, d := range drafts {
			_ = d.Close()
		}
	}()
	var stored []golden.Descriptor
	for _, part := range append([]golden.Descriptor{m.Config}, m.Layers...) {
		switch d, err := u.received(part); {
		case errors.Is(err, fs.ErrNotExist):
			stored = append(stored, part)
		case err != nil:
			return "", "", err
		default:
			drafts = append(drafts, d)
		}
	}
	if err := u.holdsTogether(m, manifest); err != nil {
		return "", "", err
	}
	image, before, err = u.store.commit(ctx, entry{name: name, stored: stored}, manifest, drafts)
	if err != nil {
		return "", "", err
	}
	for _, d := range drafts {
		_ = os.Remove(u.path(d.digest()) + wholeSuffix) // the next sweep's, else
	}
	return image, before, nil
}

// received is a blob that has arrived whole, as a draft.
func (u Uploads) received(part golden.Descriptor) (*Draft, error) {
	f, err := os.Open(u.path(part.Digest) + wholeSuffix)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != part.Size {
		err = fmt.Errorf("%s has %d bytes, the manifest says %d", part.MediaType, info.Size(), part.Size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Draft{store: u.store, file: f, known: part.Digest, size: part.Size}, nil
}

// holdsTogether checks an image whose blobs are not all in their place yet.
func (u Uploads) holdsTogether(m *golden.Manifest, manifest []byte) error {
	open := func(d golden.Descriptor) (*os.File, error) {
		f, err := os.Open(u.path(d.Digest) + wholeSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = u.store.OpenBlob(d.Digest)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", d.MediaType, ErrMissing)
		}
		return f, err
	}
	chunks, err := m.Layer(golden.MediaTypeChunks)
	if err != nil {
		return err
	}
	c, err := open(m.Config)
	if err != nil {
		return err
	}
	defer c.Close()
	config, err := io.ReadAll(io.LimitReader(c, golden.MaxConfigSize))
	if err != nil {
		return fmt.Errorf("reading the config: %w", err)
	}
	table, err := open(chunks)
	if err != nil {
		return err
	}
	defer table.Close()
	_, err = golden.NewImage(golden.DigestOf(manifest), manifest, config, table)
	return err
}

// ErrMissing means that a blob of an image is not here.
var ErrMissing = errors.New("a blob is missing")

// Alias gives an image one name more. It returns what Commit does.
func (u Uploads) Alias(ctx context.Context, name, from string) (image, before golden.Digest, err error) {
	d, err := u.store.Resolve(from)
	if err != nil {
		return "", "", err
	}
	manifest, err := u.store.ReadBlob(d, golden.MaxManifestSize)
	if err != nil {
		return "", "", err
	}
	return u.Commit(ctx, name, manifest)
}
