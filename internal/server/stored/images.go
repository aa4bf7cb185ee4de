// Package stored shows the images of a store as a server's clients see them.
package stored

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

// Images are those of a store. It is read afresh each time, so an image that
// was just added is there without a restart.
type Images struct {
	Store *store.Store
	Log   *slog.Logger // nil: discard
}

// List returns the images by name, of a damaged one what is known: the others
// are as good as before.
func (s Images) List(context.Context) ([]api.Image, error) {
	named, err := s.Store.List()
	if err != nil {
		return nil, err
	}
	images := make([]api.Image, 0, len(named))
	for _, n := range named {
		im, err := s.Store.Image(n.Name)
		switch {
		case errors.Is(err, store.ErrNotFound): // removed since it was listed
			continue
		case err != nil:
			cmp.Or(s.Log, slog.New(slog.DiscardHandler)).Error("a stored image is damaged", "image", n.Name, "digest", n.Digest, "err", err)
			images = append(images, api.Image{Name: n.Name, Digest: string(n.Digest), Damage: err.Error()})
			continue
		}
		images = append(images, Summary(n.Name, im))
	}
	return images, nil
}

// Resolve returns the identity behind a name.
func (s Images) Resolve(_ context.Context, name string) (golden.Digest, error) {
	return s.Store.Resolve(name)
}

// Describe returns what a list shows of one image.
func (s Images) Describe(_ context.Context, name string) (api.Image, error) {
	im, err := s.Store.Image(name)
	if err != nil {
		return api.Image{}, err
	}
	return Summary(name, im), nil
}

// Blob opens what an image is made of.
func (s Images) Blob(_ context.Context, d golden.Digest) (io.ReadSeekCloser, error) {
	return s.Store.OpenNamed(d)
}

// Summary is what a list shows of a stored image.
func Summary(name string, im *golden.Image) api.Image {
	s := api.Image{Name: name, Digest: string(im.Digest), Size: im.Table.DiskSize, Stored: im.Manifest.Config.Size}
	for _, l := range im.Manifest.Layers {
		s.Stored += l.Size
	}
	s.Data = im.Table.DataSize()
	d := im.Config.Disk
	s.Firmware, s.Scheme, s.SectorSize, s.TableID = im.Config.Firmware, d.Scheme, d.SectorSize, d.ID
	s.Partitions = d.Layout().Partitions
	if b := im.Config.Boot; b != nil {
		s.Release, s.Arch, s.Cmdline, s.Root = b.KernelRelease, b.Arch, b.Cmdline, b.Root.Partition
		s.Instant, s.Handoff = b.Instant, b.Handoff
	}
	return s
}
