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
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/wholefile"
)

// Store is an image-layout directory. Its methods are safe for concurrent
// use, also by several processes.
type Store struct {
	layout
	named namedBlobs
}

// namedBlobs remembers what the manifests of one state of the index name.
type namedBlobs struct {
	mu      sync.Mutex
	index   os.FileInfo
	digests map[golden.Digest]bool
}

// ErrNotFound is wrapped by the error for a name or digest that the store
// does not have. It is an fs.ErrNotExist too.
var ErrNotFound error = notFound{}

type notFound struct{}

func (notFound) Error() string        { return "no such image" }
func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

// Open uses the directory. One that is not there is an empty store; the first
// image makes it, so that looking leaves no trace.
func Open(dir string) (*Store, error) {
	s := &Store{layout: layout{dir}}
	if _, err := s.readIndex(); err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	return s, nil
}

// create makes the layout directory where it is not there yet.
func (s *Store) create() error {
	if err := os.MkdirAll(s.blobDir(), 0o755); err != nil {
		return fmt.Errorf("making image store: %w", err)
	}
	if _, err := os.Stat(s.path(ocispec.ImageLayoutFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Under the lock, or a writer that collects strays takes the new file away.
	unlock, err := s.lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	layout, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err == nil {
		err = wholefile.Bytes(s.path(ocispec.ImageLayoutFile), 0o644, layout)
	}
	if err != nil {
		return fmt.Errorf("making image store: %w", s.explain(err))
	}
	return nil
}

// explain adds what to do to the errors that mean a full file system.
func (s *Store) explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the store %s has no space left: free some, or choose another --data: %w", s.dir, err)
	}
	return err
}

// Dir returns the layout directory.
func (s *Store) Dir() string { return s.dir }

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
	return names(index), nil
}

func names(index *ocispec.Index) []Named {
	var named []Named
	for _, d := range index.Manifests {
		if name := d.Annotations[ocispec.AnnotationRefName]; name != "" && d.ArtifactType == golden.ArtifactType {
			named = append(named, Named{name, golden.Digest(d.Digest)})
		}
	}
	slices.SortFunc(named, func(a, b Named) int { return strings.Compare(a.Name, b.Name) })
	return named
}

// Resolve returns the identity of the image with the name, or with the whole
// digest, or with at least six of its first hex digits. A pinned image without
// a name has only its whole digest.
func (s *Store) Resolve(ref string) (golden.Digest, error) {
	index, err := s.readIndex()
	if err != nil {
		return "", err
	}
	if d := golden.Digest(ref); slices.Contains(pins(index), d) {
		return d, nil
	}
	all := names(index)
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
		return "", notFoundError(ref)
	case 1:
		for d := range found {
			return d, nil
		}
	}
	return "", fmt.Errorf("%.120q names %d images: give more digits", ref, len(found))
}

// Image reads and checks the parts of the image that ref names. Of an image
// that is there but damaged or not whole, the error names the part and is not
// ErrNotFound.
func (s *Store) Image(ref string) (*golden.Image, error) {
	d, err := s.Resolve(ref)
	if err != nil {
		return nil, err
	}
	manifest, err := s.readPart("manifest", d, golden.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := golden.ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	config, err := s.readPart("config", m.Config.Digest, golden.MaxConfigSize)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Layer(golden.MediaTypeChunks)
	if err != nil {
		return nil, err
	}
	table, err := s.OpenBlob(chunks.Digest)
	if err != nil {
		return nil, missing("chunk table", chunks.Digest, err)
	}
	defer table.Close()
	return golden.NewImage(d, manifest, config, table)
}

func (s *Store) readPart(part string, d golden.Digest, limit int64) ([]byte, error) {
	p, err := s.ReadBlob(d, limit)
	if err != nil {
		return nil, missing(part, d, err)
	}
	return p, nil
}

// missing tells of a part that cannot be had. A blob that is not there is not
// an image that is not there: no ErrNotFound comes through.
func missing(part string, d golden.Digest, err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s: blob %s is missing", part, d.Short())
	}
	return fmt.Errorf("%s: %w", part, err)
}

// OpenBlob opens a blob for reading at any offset. The caller closes it. The
// content is not hashed here: it may be large, and who reads it verifies it.
func (s *Store) OpenBlob(d golden.Digest) (*os.File, error) {
	if _, err := golden.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	f, err := s.open(ocispec.ImageBlobsDir, "sha256", d.Hex())
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
	made, _, err := s.commit(ctx, entry{name: name}, manifest, drafts)
	return made, err
}

// commit makes an artifact and its drafts part of the store. A blob that is to
// be stored already and is not is an [ErrMissing]. before is what had the name;
// empty: nothing had.
func (s *Store) commit(ctx context.Context, e entry, manifest []byte, drafts []*Draft) (made, before golden.Digest, err error) {
	if err = CheckName(e.name); err != nil {
		return "", "", err
	}
	m, err := s.Draft()
	if err != nil {
		return "", "", err
	}
	defer m.Close()
	if _, err := m.Write(manifest); err != nil {
		return "", "", fmt.Errorf("writing manifest: %w", err)
	}
	drafts = append(slices.Clone(drafts), m)
	// Before the lock: gigabytes take their time to reach the disk, and other
	// writers need not wait for that.
	for _, d := range drafts {
		if err := d.sync(); err != nil {
			return "", "", s.explain(err)
		}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", "", err
	}
	defer unlock()
	// Nothing that is stored goes while the lock is held.
	for _, part := range e.stored {
		if info, err := os.Stat(filepath.Join(s.blobDir(), part.Digest.Hex())); err != nil || info.Size() != part.Size {
			return "", "", fmt.Errorf("%s: %w", part.MediaType, ErrMissing)
		}
	}
	index, err := s.readIndex()
	if err != nil {
		return "", "", err
	}
	ref, artifactType := e.in()
	if at := slices.IndexFunc(index.Manifests, named(ref)); at >= 0 {
		before = golden.Digest(index.Manifests[at].Digest)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, named(ref))
	index.Manifests = append(index.Manifests, ocispec.Descriptor{
		MediaType:    golden.MediaTypeManifest,
		ArtifactType: artifactType,
		Digest:       ociDigest(m.digest()),
		Size:         int64(len(manifest)),
		Annotations:  map[string]string{ocispec.AnnotationRefName: ref},
	})
	if err := s.publish(index, drafts); err != nil {
		return "", "", s.explain(err)
	}
	// The image is stored. What could not be removed now is tried again by
	// whoever writes next.
	_ = s.collect(index)
	return m.digest(), before, nil
}

// publish gives the drafts their names, then replaces the index. When that
// fails, the names go again. The lock is held.
func (s *Store) publish(index *ocispec.Index, drafts []*Draft) (err error) {
	var added []string
	defer func() {
		if err != nil {
			for _, path := range added {
				_ = os.Remove(path)
			}
		}
	}()
	for _, d := range drafts {
		isNew, err := d.link()
		if err != nil {
			return err
		}
		if isNew {
			added = append(added, d.path())
		}
	}
	if err := wholefile.SyncDir(s.blobDir()); err != nil {
		return fmt.Errorf("writing blobs: %w", err)
	}
	replaced, err := s.writeIndex(index)
	if replaced {
		added = nil // named by now, even if that may not be durable
	}
	return err
}

// Remove takes the name away, and the image with it when nothing else names
// it.
func (s *Store) Remove(ctx context.Context, name string) error {
	// A store that does not exist has nothing to lock either.
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return notFoundError(name)
	}
	return remove(ctx, s, name, notFoundError(name))
}

// remove takes an entry out of the index; none is what it returns where there
// is no such entry.
func remove(ctx context.Context, s *Store, ref string, none error) error {
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
	index.Manifests = slices.DeleteFunc(index.Manifests, named(ref))
	if len(index.Manifests) == before {
		return none
	}
	if _, err := s.writeIndex(index); err != nil {
		return s.explain(err)
	}
	return s.collect(index)
}

func named(name string) func(ocispec.Descriptor) bool {
	return func(d ocispec.Descriptor) bool { return d.Annotations[ocispec.AnnotationRefName] == name }
}

func notFoundError(ref string) error {
	return fmt.Errorf("%.120q: %w (see `gild image ls`)", ref, ErrNotFound)
}
