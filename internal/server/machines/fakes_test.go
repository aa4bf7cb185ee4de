package machines

import (
	"context"
	"io/fs"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

const mac = "52:54:00:00:00:01"

// oneImage is a store with one image.
type oneImage struct{ digest golden.Digest }

func (s oneImage) Resolve(_ context.Context, name string) (golden.Digest, error) {
	if name != "debian" {
		return "", fs.ErrNotExist
	}
	return s.digest, nil
}

func (s oneImage) Describe(ctx context.Context, name string) (api.Image, error) {
	d, err := s.Resolve(ctx, name)
	return api.Image{Name: name, Digest: string(d), Size: 1 << 20}, err
}
