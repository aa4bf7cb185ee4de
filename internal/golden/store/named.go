package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden"
)

// open opens a file of the layout that is one: a link in a layout that was
// copied from elsewhere must not lead to another file of this host, and a pipe
// must not be waited for.
func (s *Store) open(elem ...string) (*os.File, error) {
	name := filepath.Join(elem...)
	dir, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOSYS) { // Linux before 5.6
		fd, err = unix.Openat(int(dir.Fd()), name, flags, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: s.path(elem...), Err: err}
	}
	f := os.NewFile(uintptr(fd), s.path(elem...))
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenNamed is OpenBlob for what a stored manifest names, and for the manifest;
// whatever else lies among the blobs is ErrNotFound.
func (s *Store) OpenNamed(d golden.Digest) (*os.File, error) {
	named, err := s.named.of(s)
	if err != nil {
		return nil, err
	}
	if !named[d] {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrNotFound)
	}
	return s.OpenBlob(d)
}

// of returns the digests that the manifests of the index name. They are read
// anew when the index has been replaced, which gives it another inode.
func (n *namedBlobs) of(s *Store) (map[golden.Digest]bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info, err := os.Stat(s.path(ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading image index: %w", err)
	}
	if n.index != nil && os.SameFile(n.index, info) && n.index.ModTime().Equal(info.ModTime()) && n.index.Size() == info.Size() {
		return n.digests, nil
	}
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	digests := map[golden.Digest]bool{}
	for _, d := range index.Manifests {
		digests[golden.Digest(d.Digest)] = true
		p, err := s.ReadBlob(golden.Digest(d.Digest), golden.MaxManifestSize)
		if err != nil {
			continue // the list of images says that it is damaged
		}
		var m ocispec.Manifest
		if json.Unmarshal(p, &m) != nil {
			continue
		}
		digests[golden.Digest(m.Config.Digest)] = true
		for _, l := range m.Layers {
			digests[golden.Digest(l.Digest)] = true
		}
	}
	n.index, n.digests = info, digests
	return digests, nil
}
