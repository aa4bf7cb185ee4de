package image

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
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

The server that runs on the data directory, or the one of --server (GILD_SERVER),
refuses to remove an image that something names: a machine that is armed with it, a
machine or a group whose default it is, --discover. With --force the image goes all
the same. What is armed with it is still flashed: its blobs go when no machine is
armed with them any more.

On a terminal it asks first.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRm(cmd.Context(), slices.Compact(slices.Sorted(slices.Values(args))), o)
		},
		ValidArgsFunction: complete.Images(a.App, math.MaxInt),
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "even while a machine, a group or --discover names one")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (a commands) runRm(ctx context.Context, names []string, o rmOptions) error {
	c, err := open(a.App)
	if err != nil {
		return err
	}
	if err := c.mustHave(ctx, names...); err != nil {
		return err
	}
	keeper, err := c.keeper(o.force)
	if err != nil {
		return err
	}
	if err := a.agreeToRemove(ctx, c, names, o); err != nil {
		return err
	}
	gone, err := c.remove(ctx, keeper, names, o.force)
	return errors.Join(a.printRemoved(gone), err)
}

// agreeToRemove asks a person. More than one image needs their number.
func (a commands) agreeToRemove(ctx context.Context, c catalog, names []string, o rmOptions) error {
	if o.yes || !a.Interactive() {
		return nil
	}
	images, _, err := c.list(ctx) // one that is damaged goes as well
	if err != nil {
		return err
	}
	for _, name := range names {
		size := "damaged"
		if i := slices.IndexFunc(images, func(i api.Image) bool { return i.Name == name }); i >= 0 {
			size = units.Bytes(images[i].Size)
		}
		fmt.Fprintf(a.Stderr, "%s  %s\n", name, size)
	}
	if !a.Agreed(ctx, len(names), "They will be gone from the store.", "remove them") {
		return exit.Refused(errors.New("not confirmed; nothing was removed"))
	}
	return nil
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
