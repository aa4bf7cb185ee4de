package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/golden/verify"
	"github.com/gild-dev/gild/internal/server/stored"
)

// catalog is the images that are meant: those of the server that is named, or
// of the data directory.
type catalog struct {
	*app.App
	server *operatorclient.Client // nil: the data directory's
	store  *store.Store           // of the data directory
}

// open finds the images that are meant.
func open(a *app.App) (c catalog, err error) {
	c.App = a
	if remote(a) {
		c.server, err = a.Operator()
	} else {
		c.store, err = a.OpenStore()
	}
	return c, err
}

// remote reports whether a server is named whose images are meant.
func remote(a *app.App) bool { return a.URL != "" }

// list gives the images, and what is wrong with those that are damaged.
func (c catalog) list(ctx context.Context) (images []api.Image, damaged []error, err error) {
	if c.server != nil {
		all, err := c.server.Images().List(ctx)
		for _, i := range all {
			if i.Damage != "" {
				damaged = append(damaged, fmt.Errorf("image %s: %s", i.Name, i.Damage))
				continue
			}
			images = append(images, i)
		}
		return images, damaged, c.Reached(err)
	}
	named, err := c.store.List()
	for _, n := range named {
		im, err := c.store.Image(n.Name)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("image %s: %w", n.Name, err))
			continue
		}
		images = append(images, stored.Summary(n.Name, im))
	}
	return images, damaged, err
}

// names are those of all images, damaged ones as well.
func (c catalog) names(ctx context.Context) (names []string, err error) {
	if c.server != nil {
		images, err := c.server.Images().List(ctx)
		for _, i := range images {
			names = append(names, i.Name)
		}
		return names, c.Reached(err)
	}
	named, err := c.store.List()
	for _, n := range named {
		names = append(names, n.Name)
	}
	return names, err
}

// details is all that is known of one image.
func (c catalog) details(ctx context.Context, ref string) (api.ImageDetails, error) {
	if c.server != nil {
		d, err := c.server.Images().Details(ctx, ref)
		return d, c.Reached(err)
	}
	im, err := c.store.Image(ref)
	if err != nil {
		return api.ImageDetails{}, err
	}
	return stored.Details(ref, im)
}

// verify compares every byte of an image with its hash where it is stored.
func (c catalog) verify(ctx context.Context, name string) error {
	bar := c.Bar("verifying "+name, 0)
	defer bar.Done()
	if c.server == nil {
		return verify.Image(ctx, c.store, name, bar.SetOf)
	}
	damage, err := c.server.Images().Verify(ctx, name, func(at api.Verification) { bar.SetOf(at.Done, at.Total) })
	if err == nil && damage != "" {
		return errors.New(damage)
	}
	return c.Reached(err)
}

// mustHave refuses when one of the names is wrong.
func (c catalog) mustHave(ctx context.Context, names ...string) error {
	all, err := c.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return fmt.Errorf("%.120q: %w (see `gild image ls`)", name, store.ErrNotFound)
		}
	}
	return nil
}

// keeper is the server that knows what names an image; nil: none does: see
// [app.App.Keeper].
func (c catalog) keeper(force bool) (*operatorclient.Client, error) {
	if c.server != nil {
		return c.server, nil
	}
	return c.Keeper("which machines and groups name an image", force)
}

// remove removes images by the server that knows what names them, or without
// one.
func (c catalog) remove(ctx context.Context, keeper *operatorclient.Client, names []string, force bool) (gone []api.RemovedImage,
	err error,
) {
	if keeper != nil {
		gone, err := keeper.Images().Remove(ctx, names, force)
		return gone, c.Reached(err)
	}
	for _, name := range names {
		if err := c.store.Remove(ctx, name); err != nil {
			return gone, err
		}
		gone = append(gone, api.RemovedImage{Name: name, Uses: []api.Use{}})
	}
	return gone, nil
}

// alias gives an image one name more.
func (c catalog) alias(ctx context.Context, keeper *operatorclient.Client, name, was string) error {
	if keeper != nil {
		_, err := keeper.Uploads().Alias(ctx, name, was)
		return c.Reached(err)
	}
	_, _, err := c.store.Uploads().Alias(ctx, name, was)
	return err
}
