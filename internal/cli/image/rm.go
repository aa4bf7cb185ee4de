package image

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/golden/store"
)

func (a commands) rmCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "remove images from the store",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := a.OpenStore()
			if err != nil {
				return err
			}
			return removeAll(cmd, st, args)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
}

// removeAll removes all images or, when one of the names is wrong, none.
func removeAll(cmd *cobra.Command, st *store.Store, names []string) error {
	all, err := st.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(n store.Named) bool { return n.Name == name }) {
			return fmt.Errorf("%.120q: %w (see `gild image ls`)", name, store.ErrNotFound)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := st.Remove(cmd.Context(), name); err != nil {
			return err
		}
	}
	return nil
}
