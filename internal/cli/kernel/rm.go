package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/store"
)

// rmOptions are the flags of gild kernel rm.
type rmOptions struct{ force, yes bool }

func (a commands) rmCmd() *cobra.Command {
	var o rmOptions
	cmd := &cobra.Command{
		Use:   "rm KERNEL...",
		Short: "remove boot kernels from the store",
		Long: `Remove boot kernels from the store: all that are named, or none.

A kernel is not removed that an armed machine is to boot, nor the last one of its
architecture while a stored image has no kernel of its own, unless --force is
given. Machines boot another kernel then, if there is one that fits.

On a terminal it asks first.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runRm(cmd.Context(), slices.Compact(slices.Sorted(slices.Values(args))), o)
		},
		ValidArgsFunction: a.complete,
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "even while machines or images need one")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (a commands) runRm(ctx context.Context, names []string, o rmOptions) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	var gone []*bootkernel.BootKernel
	for _, name := range names {
		k, err := st.Kernels().Get(name)
		if err != nil {
			return err
		}
		gone = append(gone, k)
	}
	if !o.force {
		if err := errors.Join(a.armedWith(ctx, gone), lastOf(st, gone)); err != nil {
			return err
		}
	}
	if !o.yes && a.Interactive() && !a.Agreed(ctx, len(names), strings.Join(names, ", ")+" will be gone from the store.", "remove them") {
		return exit.Refused(errors.New("not confirmed; nothing was removed"))
	}
	removed := []string{}
	for _, name := range names {
		if err = st.Kernels().Remove(ctx, name); err != nil {
			break
		}
		removed = append(removed, name)
	}
	if a.JSON {
		return errors.Join(a.PrintJSON(map[string][]string{"removed": removed}), err)
	}
	for _, name := range removed {
		fmt.Fprintf(a.Stdout, "%s removed\n", name)
	}
	return err
}

// armedWith refuses to remove what armed machines are to boot.
func (a commands) armedWith(ctx context.Context, gone []*bootkernel.BootKernel) error {
	op, err := a.Keeper("which armed machines need a kernel", false)
	if err != nil || op == nil {
		return err
	}
	machines, err := op.Machines(ctx, "")
	if err != nil {
		return a.Reached(err)
	}
	var told []string
	for _, m := range machines {
		if k := needs(&m); slices.ContainsFunc(gone, func(g *bootkernel.BootKernel) bool { return g.Name == k }) {
			told = append(told, fmt.Sprintf("%s is armed and boots %s", cmp.Or(m.Spec.Name, m.ID), k))
		}
	}
	if len(told) == 0 {
		return nil
	}
	return exit.Refused(exit.Hint(errors.New(strings.Join(told, ", ")), "cancel the arm first, or remove it all the same with --force"))
}

// needs is the boot kernel of an armed machine; empty: none.
func needs(m *api.Machine) string {
	if m.Armed == nil || m.Armed.Boots == nil {
		return ""
	}
	return m.Armed.Boots.Kernel
}

// lastOf refuses to remove the last kernel of an architecture while images
// need one.
func lastOf(st *store.Store, gone []*bootkernel.BootKernel) error {
	all, _ := st.Kernels().List()
	left := slices.DeleteFunc(all, func(k *bootkernel.BootKernel) bool {
		return slices.ContainsFunc(gone, func(g *bootkernel.BootKernel) bool { return g.Name == k.Name })
	})
	images, err := st.List()
	if err != nil {
		return err
	}
	var without []string
	for _, n := range images {
		if im, err := st.Image(n.Name); err == nil && im.Config.Boot == nil {
			without = append(without, n.Name)
		}
	}
	for _, g := range gone {
		if _, err := bootkernel.Choose(left, "", g.Config.Arch); err != nil && len(without) > 0 {
			return exit.Refused(exit.Hint(
				fmt.Errorf("%s is the last boot kernel for %s, and without one no machine can be flashed with %s", g.Name, g.Config.Arch,
					strings.Join(without, ", ")),
				"add another one first, or remove it all the same with --force"))
		}
	}
	return nil
}
