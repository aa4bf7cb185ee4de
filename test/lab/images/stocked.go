package images

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/gild-dev/gild/test/lab/host"
)

// stockedRecipe is to stocked images what recipe is to golden ones.
const stockedRecipe = 1

// Stock is where a stocked image has its packages.
const Stock = "/srv/packages"

// Stocked returns a golden image, in [host.Cache], that has the files of fio
// and of all that it depends on in [Stock]: its apt can install them without
// any archive. See [Builder.Golden] for what to do with it.
func Stocked(ctx context.Context, spec Spec) (string, error) {
	cache, err := host.Cache()
	if err != nil {
		return "", err
	}
	b := &Builder{Cache: cache}
	path, err := b.keep(ctx, fmt.Sprintf("stocked-%d-%s", stockedRecipe, spec.file()), func(ctx context.Context, dst, work string) error {
		start, err := b.Golden(ctx, spec)
		if err != nil {
			return err
		}
		debs, err := b.download(ctx, "stocked", stockedRecipe, []string{"fio"})
		if err != nil {
			return err
		}
		return editRoot(ctx, spec, start, dst, work, func(root string) error {
			files, err := absent(root, debs)
			if err != nil {
				return err
			}
			args := slices.Concat([]string{"-D", "-m", "644", "-t", filepath.Join(root, Stock)}, files)
			return run(ctx, nil, nil, "install", args...)
		})
	})
	if err != nil {
		return "", fmt.Errorf("stocked image %s: %w", spec.Name, err)
	}
	return path, nil
}
