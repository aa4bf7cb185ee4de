package stored

import (
	"context"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/verify"
	"github.com/gild-dev/gild/internal/server/turns"
)

// Inspector looks closely at one image, as people ask it to.
type Inspector struct {
	Images
	reading turns.Turns // by nothing: one image at a time
}

// Verify compares every byte of an image with its hash. One image is read at a
// time, whoever asks: machines read the same disk, and want the same processor.
func (s *Inspector) Verify(ctx context.Context, name string, progress func(done, total int64)) error {
	done, err := s.reading.Take(ctx, "")
	if err != nil {
		return err
	}
	defer done()
	return verify.Image(ctx, s.Store, name, progress)
}

// Details returns all that is known of one image, by name or digest.
func (s *Inspector) Details(_ context.Context, name string) (api.ImageDetails, error) {
	im, err := s.Store.Image(name)
	if err != nil {
		return api.ImageDetails{}, err
	}
	return Details(name, im)
}

// Details is all that is known of an image, for people who look at one.
func Details(name string, im *golden.Image) (d api.ImageDetails, err error) {
	d = api.ImageDetails{Image: Summary(name, im), ChunkSize: im.Table.ChunkSize, Parts: map[string]int64{}}
	for i := range im.Table.Len() {
		if !im.Table.Zero(i) {
			d.DataChunks++
		}
	}
	for _, l := range im.Manifest.Layers {
		d.Parts[l.MediaType] = l.Size
	}
	d.Way, d.Why = im.Config.Handoff()
	d.Config, err = im.Config.Marshal()
	return d, err
}
