package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// catalog is the images that are meant: those of the server that is named, or of
// the data directory.
type catalog struct{ *app.App }

// remote reports whether a server is named whose images are meant.
func (c catalog) remote() bool { return c.URL != "" }

// list gives the images of the server that is named, or of the data directory,
// and what is wrong with the others.
func (c catalog) list(ctx context.Context) (images []api.Image, damaged []error, err error) {
	if c.remote() {
		op, err := c.Operator()
		if err != nil {
			return nil, nil, err
		}
		all, err := op.Images(ctx)
		for _, i := range all {
			if i.Damage != "" {
				damaged = append(damaged, fmt.Errorf("image %s: %s", i.Name, i.Damage))
				continue
			}
			images = append(images, i)
		}
		return images, damaged, c.Reached(err)
	}
	st, err := c.OpenStore()
	if err != nil {
		return nil, nil, err
	}
	named, err := st.List()
	for _, n := range named {
		im, err := st.Image(n.Name)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("image %s: %w", n.Name, err))
			continue
		}
		images = append(images, server.Summary(n.Name, im))
	}
	return images, damaged, err
}

// remover is the server that knows what names an image: the one that is named, or
// the one that runs on the data directory; nil: none does, and nothing can name
// one, or force is given.
func (c catalog) remover(force bool) (*operatorclient.Client, error) {
	if c.remote() {
		return c.Operator()
	}
	op, err := c.Local()
	switch alone := errors.Is(err, local.ErrNoServer); {
	case !alone:
		return op, err
	case etcd.Exists(c.Data) && !force:
		return nil, exit.Refused(exit.Hint(
			fmt.Errorf("no server runs on %s, so nobody says which machines and groups name an image", c.Data),
			"start `gild serve` first, or remove it all the same with --force"))
	}
	return nil, nil
}

// remove removes images by a server, or without one.
func (c catalog) remove(ctx context.Context, op *operatorclient.Client, names []string, force bool) ([]api.RemovedImage, error) {
	if op != nil {
		gone, err := op.RemoveImages(ctx, names, force)
		return gone, c.Reached(err)
	}
	st, err := c.OpenStore()
	if err != nil {
		return nil, err
	}
	return removeAlone(ctx, st, names)
}

// mustHave refuses when one of the names is wrong.
func (c catalog) mustHave(names []string) error {
	st, err := c.OpenStore()
	if err != nil {
		return err
	}
	all, err := st.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(n store.Named) bool { return n.Name == name }) {
			return fmt.Errorf("%.120q: %w (see `gild image ls`)", name, store.ErrNotFound)
		}
	}
	return nil
}

// removeAlone removes images that no server knows.
func removeAlone(ctx context.Context, st *store.Store, names []string) (gone []api.RemovedImage, err error) {
	for _, name := range names {
		if err := st.Remove(ctx, name); err != nil {
			return gone, err
		}
		gone = append(gone, api.RemovedImage{Name: name, Uses: []api.ImageUse{}})
	}
	return gone, nil
}

// alias gives an image one name more.
func (c catalog) alias(ctx context.Context, op *operatorclient.Client, name, was string) error {
	if op != nil {
		_, err := op.Uploads().Alias(ctx, name, was)
		return c.Reached(err)
	}
	st, err := c.OpenStore()
	if err != nil {
		return err
	}
	_, _, err = st.Uploads().Alias(ctx, name, was)
	return err
}
