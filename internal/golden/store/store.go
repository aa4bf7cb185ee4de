// Package store keeps stored images in an OCI image-layout directory
// (image-spec v1.1, image-layout.md).
//
// Every tool that reads such a directory can read the images. What the
// directory gains here is that no crash can harm it: blobs come into being
// whole, under their digest, and index.json is replaced in one step, so a
// reader sees an image either complete or not at all. Several processes may
// use one directory; writers take turns by a lock.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gild-dev/gild/internal/golden"
)

// Store is an image-layout directory. Its methods are safe for concurrent
// use, also by several processes.
type Store struct {
	dir string
}

// ErrNotFound is wrapped by the error for a name or digest that the store
// does not have. It is an fs.ErrNotExist too.
var ErrNotFound error = notFound{}

type notFound struct{}

func (notFound) Error() string        { return "no such image" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

// Open uses the directory, and makes it if it is not there.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	if err := os.MkdirAll(s.blobDir(), 0o755); err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	if _, err := os.Stat(s.path(ocispec.ImageLayoutFile)); errors.Is(err, fs.ErrNotExist) {
		if err := s.replaceFile(ocispec.ImageLayoutFile, layout); err != nil {
			return nil, fmt.Errorf("opening image store: %w", err)
		}
	}
	if _, err := s.readIndex(); err != nil {
		return nil, err
	}
	return s, nil
}

// Dir returns the layout directory.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *Store) blobDir() string { return s.path(ocispec.ImageBlobsDir, "sha256") }

// CheckName reports whether name can name an image: it becomes a tag and a
// repository name, and so must suit both (distribution-spec v1.1, "Pulling
// manifests").
func CheckName(name string) error {
	ok := name != "" && len(name) <= 100 && name[0] != '.' && name[0] != '-' && name[0] != '_'
	for i, c := range []byte(name) {
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		separator := strings.IndexByte("._-", c) >= 0
		ok = ok && (alnum || separator && i+1 < len(name) && strings.IndexByte("._-", name[i+1]) < 0)
	}
	if !ok {
		return fmt.Errorf("%.120q cannot name an image: use lower case letters and digits, with single . _ or - between them, at most 100", name)
	}
	return nil
}

// Named is an image under its name.
type Named struct {
	Name   string
	Digest golden.Digest
}

// List returns the images by name.
func (s *Store) List() ([]Named, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var named []Named
	for _, d := range index.Manifests {
		if name := d.Annotations[ocispec.AnnotationRefName]; name != "" && d.ArtifactType == golden.ArtifactType {
			named = append(named, Named{name, golden.Digest(d.Digest)})
		}
	}
	slices.SortFunc(named, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	return named, nil
}

// Resolve returns the identity of the image with the name, or with the whole
// digest, or with at least six of its first hex digits.
func (s *Store) Resolve(ref string) (golden.Digest, error) {
	all, err := s.List()
	if err != nil {
		return "", err
	}
	found := map[golden.Digest]bool{}
	for _, n := range all {
		if n.Name == ref || string(n.Digest) == ref {
			return n.Digest, nil
		}
		if len(ref) >= 6 && strings.HasPrefix(n.Digest.Hex(), strings.TrimPrefix(ref, "sha256:")) {
			found[n.Digest] = true
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%.120q: %w (see `gild image ls`)", ref, ErrNotFound)
	case 1:
		for d := range found {
			return d, nil
		}
	}
	return "", fmt.Errorf("%.120q names %d images: give more digits", ref, len(found))
}

// Image reads and checks the parts of the image that ref names.
func (s *Store) Image(ref string) (*golden.Image, error) {
	d, err := s.Resolve(ref)
	if err != nil {
		return nil, err
	}
	manifest, err := s.ReadBlob(d, golden.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := golden.ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	config, err := s.ReadBlob(m.Config.Digest, golden.MaxConfigSize)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Layer(golden.MediaTypeChunks)
	if err != nil {
		return nil, err
	}
	table, err := s.ReadBlob(chunks.Digest, golden.MaxTableSize)
	if err != nil {
		return nil, err
	}
	return golden.NewImage(d, manifest, config, table)
}

// OpenBlob opens a blob for reading at any offset. The caller closes it. The
// content is not hashed here: it may be large, and who reads it verifies it.
func (s *Store) OpenBlob(d golden.Digest) (*os.File, error) {
	if _, err := golden.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.blobDir(), d.Hex()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening blob: %w", err)
	}
	return f, nil
}

// ReadBlob returns a whole blob of at most limit bytes, verified.
func (s *Store) ReadBlob(d golden.Digest, limit int64) ([]byte, error) {
	f, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading blob: %w", err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, at most %d are accepted here", d.Short(), info.Size(), limit)
	}
	p := make([]byte, info.Size())
	if _, err := f.ReadAt(p, 0); err != nil && len(p) > 0 {
		return nil, fmt.Errorf("reading blob %s: %w", d.Short(), err)
	}
	if err := d.Verify(p); err != nil {
		return nil, fmt.Errorf("blob %s is damaged: %w", d.Short(), err)
	}
	return p, nil
}

// Commit gives the image its name: the blobs and the manifest become part of
// the store, or none of them does. A name that was another image's moves; the
// other image goes when nothing else names it. The drafts are used up.
func (s *Store) Commit(ctx context.Context, name string, manifest []byte, drafts ...*Draft) (golden.Digest, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	for _, d := range drafts {
		if err := d.link(); err != nil {
			return "", err
		}
	}
	digest, err := s.writeBlob(manifest)
	if err != nil {
		return "", err
	}
	index, err := s.readIndex()
	if err != nil {
		return "", err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, named(name))
	index.Manifests = append(index.Manifests, ocispec.Descriptor{
		MediaType:    golden.MediaTypeManifest,
		ArtifactType: golden.ArtifactType,
		Digest:       ociDigest(digest),
		Size:         int64(len(manifest)),
		Annotations:  map[string]string{ocispec.AnnotationRefName: name},
	})
	if err := s.writeIndex(index); err != nil {
		return "", err
	}
	return digest, s.collect(index)
}

// Remove takes the name away, and the image with it when nothing else names
// it.
func (s *Store) Remove(ctx context.Context, name string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	before := len(index.Manifests)
	index.Manifests = slices.DeleteFunc(index.Manifests, named(name))
	if len(index.Manifests) == before {
		return fmt.Errorf("%.120q: %w (see `gild image ls`)", name, ErrNotFound)
	}
	if err := s.writeIndex(index); err != nil {
		return err
	}
	return s.collect(index)
}

func named(name string) func(ocispec.Descriptor) bool {
	return func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == name }
}
