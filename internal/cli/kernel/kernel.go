// Package kernel is the commands of the boot kernels.
package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/units"
)

const long = `Store kernels that run the agent for images whose own kernel cannot: an image
without Linux, or with a root that only its own initrd can open.

Such an image is written to the machine as any other, then entered by kexec of its
own kernel where gild image add could read that, else by a reboot. gild serve
chooses the newest kernel that fits a machine, or the one that --boot-kernel names;
gild flash shows which one before anything is armed.`

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild kernel`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "store kernels that run the agent for images without one",
		Long:  long,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.addCmd(), a.lsCmd(), a.showCmd(), a.rmCmd())
	return cmd
}

// shown is a boot kernel as JSON.
type shown struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Arch    string `json:"arch"`
	Release string `json:"release"`
	Size    int64  `json:"size"` // bytes that a machine fetches of it
	// Default is set for the newest of its architecture, which is used unless
	// --boot-kernel names another.
	Default bool   `json:"default"`
	Cmdline string `json:"cmdline,omitempty"`
	From    string `json:"from,omitempty"`
}

func show(k *bootkernel.BootKernel, all []*bootkernel.BootKernel) shown {
	first, err := bootkernel.Choose(all, "", k.Config.Arch)
	return shown{
		Name: k.Name, Digest: string(k.Digest), Arch: k.Config.Arch, Release: k.Config.Release, Size: k.Kernel.Size + k.Modules.Size,
		Default: err == nil && first.Name == k.Name, Cmdline: k.Config.Cmdline, From: k.Config.From,
	}
}

// stored lists the boot kernels. An error may come with those that are sound.
func (a commands) stored() ([]*bootkernel.BootKernel, error) {
	st, err := a.OpenStore()
	if err != nil {
		return nil, err
	}
	return st.Kernels().List()
}

func (a commands) lsCmd() *cobra.Command {
	var o term.ListOptions
	cmd := &cobra.Command{
		Use: "ls", Short: "list the stored boot kernels", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.runLs(o) },
	}
	flags.List(cmd, &o)
	return cmd
}

func (a commands) runLs(o term.ListOptions) error {
	all, damaged := a.stored()
	var items []shown
	for _, k := range all {
		items = append(items, show(k, all))
	}
	return errors.Join(damaged, term.PrintList(&a.Console, list(items), o))
}

func list(items []shown) term.List[shown] {
	return term.List[shown]{Items: items, Columns: []term.Column[shown]{
		{Header: "NAME", Text: func(k *shown) string { return k.Name }},
		{Header: "DIGEST", Text: func(k *shown) string { return golden.Digest(k.Digest).Short() }},
		{Header: "ARCH", Text: func(k *shown) string { return k.Arch }},
		{Header: "KERNEL", Text: func(k *shown) string { return term.Printable(k.Release) }},
		{Header: "SIZE", Text: func(k *shown) string { return units.Bytes(k.Size) }},
		{Header: "DEFAULT", Text: func(k *shown) string { return term.Yes(k.Default) }},
		{Header: "FROM", Wide: true, Text: func(k *shown) string { return term.OrDash(term.Printable(k.From)) }},
	}}
}

func (a commands) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show KERNEL", Short: "show what a boot kernel is", Args: cobra.ExactArgs(1),
		RunE:              func(_ *cobra.Command, args []string) error { return a.runShow(args[0]) },
		ValidArgsFunction: a.complete,
	}
}

func (a commands) runShow(name string) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	k, err := st.Kernels().Get(name)
	if err != nil {
		return err
	}
	all, _ := st.Kernels().List()
	s := show(k, all)
	if a.JSON {
		return a.PrintJSON(s)
	}
	a.Fact("boot kernel", "%s", s.Name)
	a.Fact("digest", "%s", s.Digest)
	a.Fact("kernel", "%s %s, %s", term.Printable(s.Release), s.Arch, units.Bytes(k.Kernel.Size))
	a.Fact("modules", "%s", units.Bytes(k.Modules.Size))
	a.Fact("initramfs", "%s", term.Printable(k.Config.Initramfs))
	a.Fact("cmdline", "%s", term.OrDash(term.Printable(s.Cmdline)))
	a.Fact("from", "%s", term.OrDash(term.Printable(s.From)))
	use := "where --boot-kernel names it"
	if s.Default {
		use = fmt.Sprintf("for %s machines, unless --boot-kernel names another", s.Arch)
	}
	a.Fact("used", "%s", use)
	return nil
}

// complete suggests the names of boot kernels.
func (a commands) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	all, _ := a.stored()
	var names []string
	for _, k := range all {
		if !slices.Contains(args, k.Name) {
			names = append(names, k.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
