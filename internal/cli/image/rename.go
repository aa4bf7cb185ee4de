package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
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
		ValidArgsFunction: complete.Stored(a.App),
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
	c := catalog(a)
	images, damaged, err := c.list(ctx)
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(images, func(i api.Image) bool { return i.Name == name })
	}
	switch {
	case has(name):
		return exit.Refused(exit.Hint(fmt.Errorf("image %s is stored already", name), "remove it first: gild image rm "+name))
	case !has(was) && len(damaged) == 0:
		return exit.NotFound(fmt.Errorf("%.120q: %w (see `gild image ls`)", was, store.ErrNotFound))
	}
	op, err := c.remover(force)
	if err != nil {
		return err
	}
	if err := c.alias(ctx, op, name, was); err != nil {
		return err
	}
	if _, err := c.remove(ctx, op, []string{was}, force); err != nil {
		_, undo := c.remove(ctx, op, []string{name}, true)
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
