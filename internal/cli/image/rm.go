package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/units"
)

// rmOptions are the flags of gild image rm.
type rmOptions struct{ force, yes bool }

func (a commands) rmCmd() *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "remove images from the store",
		Long: `Remove images from the store: all that are named, or none. Blobs that another
image holds as well stay.

The server that runs on the data directory refuses to remove an image that
something names: a machine that is armed with it, a machine or a group whose
default it is, --discover. With --force the image goes all the same. What is armed
with it is still flashed: its blobs go when no machine is armed with them any more.

On a terminal it asks first.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRm(cmd.Context(), slices.Compact(slices.Sorted(slices.Values(args))), o)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "even while a machine, a group or --discover names one")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (a commands) runRm(ctx context.Context, names []string, o rmOptions) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	if err := mustBeStored(st, names); err != nil {
		return err
	}
	op, err := a.Local()
	alone := errors.Is(err, local.ErrNoServer)
	switch {
	case err != nil && !alone:
		return err
	case alone && etcd.Exists(a.Data) && !o.force:
		return exit.Refused(exit.Hint(
			fmt.Errorf("no server runs on %s, so nobody says which machines and groups name an image", a.Data),
			"start `gild serve` first, or remove it all the same with --force"))
	}
	if err := a.agreeToRemove(ctx, st, names, o); err != nil {
		return err
	}
	var gone []api.RemovedImage
	if alone {
		gone, err = removeAlone(ctx, st, names)
	} else {
		gone, err = op.RemoveImages(ctx, names, o.force)
		err = a.Reached(err)
	}
	return errors.Join(a.printRemoved(gone), err)
}

// mustBeStored refuses when one of the names is wrong.
func mustBeStored(st *store.Store, names []string) error {
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

// agreeToRemove asks a person. More than one image needs their number.
func (a commands) agreeToRemove(ctx context.Context, st *store.Store, names []string, o rmOptions) error {
	if o.yes || !a.Interactive() {
		return nil
	}
	for _, name := range names {
		size := "damaged"
		if im, err := st.Image(name); err == nil {
			size = units.Bytes(im.Table.DiskSize)
		}
		fmt.Fprintf(a.Stderr, "%s  %s\n", name, size)
	}
	if !a.Agreed(ctx, len(names), "They will be gone from the store.", "remove them") {
		return exit.Refused(errors.New("not confirmed; nothing was removed"))
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

func (a commands) printRemoved(gone []api.RemovedImage) error {
	if a.JSON {
		return a.PrintJSON(api.RemovedImages{Removed: append([]api.RemovedImage{}, gone...)})
	}
	for _, g := range gone {
		fmt.Fprintf(a.Stdout, "%s removed\n", g.Name)
		for _, u := range g.Uses {
			fmt.Fprintf(a.Stdout, "  %s\n", u)
		}
	}
	return nil
}
