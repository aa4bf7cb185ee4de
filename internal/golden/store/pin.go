package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gild-dev/gild/internal/golden"
)

// annotationPinned marks an entry of the index that has no name and keeps its
// image nevertheless. It is in the index, and not beside it, so that every
// tool that collects garbage in a layout sees that the image is needed.
const annotationPinned = "dev.gild.pinned"

// Pin keeps a stored image although its names may go. Pinning twice is the
// same as once; an image that is not stored is ErrNotFound.
func (s *Store) Pin(ctx context.Context, d golden.Digest) error {
	return s.setPins(ctx, func(now []golden.Digest) []golden.Digest { return append(now, d) }, d)
}

// KeepPins pins those of the images that are stored, takes every other pin
// away, and the images with them that nothing else names.
func (s *Store) KeepPins(ctx context.Context, images []golden.Digest) error {
	return s.setPins(ctx, func([]golden.Digest) []golden.Digest { return images }, "")
}

// Pinned returns the pinned images, each once.
func (s *Store) Pinned() ([]golden.Digest, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return pins(index), nil
}

func pins(index *ocispec.Index) []golden.Digest {
	var pinned []golden.Digest
	for _, d := range index.Manifests {
		if isPin(d) {
			pinned = append(pinned, golden.Digest(d.Digest))
		}
	}
	return set(pinned)
}

// set returns the images in order, each once.
func set(images []golden.Digest) []golden.Digest {
	images = slices.Clone(images)
	slices.Sort(images)
	return slices.Compact(images)
}

func isPin(d ocispec.Descriptor) bool { return d.Annotations[annotationPinned] != "" }

// setPins makes the pins what change makes of them, but for images that are
// not stored; must, unless it is empty, has to be.
func (s *Store) setPins(ctx context.Context, change func([]golden.Digest) []golden.Digest, must golden.Digest) error {
	// Most calls change nothing: a rack is armed with one image.
	if pinned, err := s.Pinned(); err != nil || slices.Equal(pinned, set(change(pinned))) {
		return err
	}
	// A store that does not exist has nothing to lock either.
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return mustBe(must)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := s.readIndex()
	if err != nil {
		return err
	}
	before, stored := pins(index), index.Manifests
	index.Manifests = slices.DeleteFunc(slices.Clone(stored), isPin)
	for _, image := range set(change(before)) {
		at := slices.IndexFunc(stored, func(d ocispec.Descriptor) bool {
			return golden.Digest(d.Digest) == image && d.ArtifactType == golden.ArtifactType
		})
		if at < 0 {
			if image == must {
				return mustBe(must)
			}
			continue
		}
		pin := stored[at]
		pin.Annotations = map[string]string{annotationPinned: "true"}
		index.Manifests = append(index.Manifests, pin)
	}
	if slices.Equal(before, pins(index)) {
		return nil
	}
	if _, err := s.writeIndex(index); err != nil {
		return s.explain(err)
	}
	return s.collect(index)
}

func mustBe(image golden.Digest) error {
	if image == "" {
		return nil
	}
	return notFoundError(string(image))
}
