package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/wholefile"
)

// layout is the files of an OCI image layout below its directory.
type layout struct{ dir string }

func (l *layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.dir}, elem...)...)
}

func (l *layout) blobDir() string { return l.path(ocispec.ImageBlobsDir, "sha256") }

func ociDigest(d golden.Digest) digest.Digest { return digest.Digest(d) }

// readIndex returns the layout's index; a layout that has none yet has no
// images.
func (l *layout) readIndex() (*ocispec.Index, error) {
	index := &ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	p, err := os.ReadFile(l.path(ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading image index: %w", err)
	}
	if err := json.Unmarshal(p, index); err != nil {
		return nil, fmt.Errorf("reading image index %s: %w", l.path(ocispec.ImageIndexFile), err)
	}
	return index, nil
}

// writeIndex replaces the index. An error may come after the new one is in
// place: then replaced says so.
func (l *layout) writeIndex(index *ocispec.Index) (replaced bool, err error) {
	p, err := json.Marshal(index)
	if err == nil {
		err = wholefile.Bytes(l.path(ocispec.ImageIndexFile), 0o644, p)
	}
	if err != nil {
		err = fmt.Errorf("writing image index: %w", err)
	}
	now, readErr := os.ReadFile(l.path(ocispec.ImageIndexFile))
	return readErr == nil && bytes.Equal(now, p), err
}

// entry is an artifact that is to be part of the index.
type entry struct {
	name   string
	kernel bool                // it is a boot kernel, and no image
	stored []golden.Descriptor // blobs that it has, and that are stored already
}

// in is the name and the type of the artifact in the index.
func (e entry) in() (ref, artifactType string) {
	if e.kernel {
		return kernelPrefix + e.name, bootkernel.ArtifactType
	}
	return e.name, golden.ArtifactType
}

// collect removes what no image of the index needs: blobs of removed images,
// and what a crash between two steps of a Commit left. The lock is held.
func (s *Store) collect(index *ocispec.Index) error {
	needed := map[string]bool{}
	for _, d := range index.Manifests {
		needed[d.Digest.Encoded()] = true
		// Another tool may keep other artifacts in the same layout: any
		// manifest's config and layers are kept, whatever they are. What cannot
		// be read, or has no layers because it is an index of indexes, may need
		// anything: then nothing is removed.
		p, err := s.ReadBlob(golden.Digest(d.Digest), golden.MaxManifestSize)
		if err != nil {
			return nil //nolint:nilerr // for verify to report
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(p, &m); err != nil || len(m.Layers) == 0 {
			return nil //nolint:nilerr // as above
		}
		needed[m.Config.Digest.Encoded()] = true
		for _, l := range m.Layers {
			needed[l.Digest.Encoded()] = true
		}
	}
	blobs, err := os.ReadDir(s.blobDir())
	if err != nil {
		return fmt.Errorf("looking for unused blobs: %w", err)
	}
	for _, b := range blobs {
		if needed[b.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobDir(), b.Name())); err != nil {
			return fmt.Errorf("removing unused blob: %w", err)
		}
	}
	return s.removeStrays()
}

// removeStrays removes the temporary files that a crash left.
func (s *Store) removeStrays() error {
	for _, pattern := range []string{".blob-*", "." + ocispec.ImageIndexFile + "-*", "." + ocispec.ImageLayoutFile + "-*"} {
		stale, err := filepath.Glob(s.path(pattern))
		if err != nil {
			return fmt.Errorf("looking for stray files: %w", err)
		}
		for _, f := range stale {
			if err := os.Remove(f); err != nil {
				return fmt.Errorf("removing stray file: %w", err)
			}
		}
	}
	return nil
}
