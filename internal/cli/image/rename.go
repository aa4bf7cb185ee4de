package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/store"
)

func (a commands) renameCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rename IMAGE NAME",
		Short: "give a stored image another name",
		Long: `Give a stored image another name, which no image has yet.

An image that a machine, a group or --discover names keeps its name; see
gild image rm. With --force it goes all the same: what is armed with it is still
flashed.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRename(cmd.Context(), args[0], args[1], force)
		},
		ValidArgsFunction: complete.Images(a.App, 1),
	}
	cmd.Flags().BoolVar(&force, "force", false, "even while a machine, a group or --discover names it")
	return cmd
}

// renamedImage is `gild image rename --json`.
type renamedImage struct {
	Name string `json:"name"`
	Was  string `json:"was"`
}

// runRename gives the image its new name first: between the two it has both.
func (a commands) runRename(ctx context.Context, was, name string, force bool) error {
	if err := store.CheckName(name); err != nil {
		return exit.Usage(err)
	}
	c, err := open(a.App)
	if err != nil {
		return err
	}
	names, err := c.names(ctx)
	switch {
	case err != nil:
		return err
	case slices.Contains(names, name):
		return exit.Refused(exit.Hint(fmt.Errorf("image %s is stored already", name), "remove it first: gild image rm "+name))
	case !slices.Contains(names, was):
		return fmt.Errorf("%.120q: %w (see `gild image ls`)", was, store.ErrNotFound)
	}
	keeper, err := c.keeper(force)
	if err != nil {
		return err
	}
	if err := c.alias(ctx, keeper, name, was); err != nil {
		return err
	}
	if _, err := c.remove(ctx, keeper, []string{was}, force); err != nil {
		_, undo := c.remove(ctx, keeper, []string{name}, true)
		if undo != nil {
			return fmt.Errorf("%w (it has both names now: %w)", err, undo)
		}
		return err
	}
	if a.JSON {
		return a.PrintJSON(renamedImage{Name: name, Was: was})
	}
	fmt.Fprintf(a.Stdout, "%s is %s now\n", was, name)
	return nil
}
