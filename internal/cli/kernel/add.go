package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden/bootkernel/gather"
	"github.com/gild-dev/gild/internal/golden/bootline"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/units"
)

const addLong = `Store a kernel with the modules that the agent needs.

SOURCE is one of:
  host       the kernel that runs on this machine
  IMAGE      the kernel of a stored image
  DIR        the tree of a system: DIR/boot/vmlinuz-RELEASE, DIR/lib/modules/RELEASE
  FILE.deb   a kernel package of Debian or Ubuntu; where modules and firmware are
             in packages of their own, name all of them

A machine gets the words of --cmdline beside the console= of the image.`

// addOptions are the flags of gild kernel add.
type addOptions struct{ release, cmdline string }

func (a commands) addCmd() *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use:   "add NAME SOURCE...",
		Short: "store a boot kernel",
		Long:  addLong,
		Args:  cobra.MinimumNArgs(2),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.runAdd(cmd.Context(), args[0], args[1:], o) },
	}
	cmd.Flags().StringVar(&o.release, "release", "", "kernel `release` to take from DIR (default: the newest)")
	cmd.Flags().StringVar(&o.cmdline, "cmdline", "", "kernel command line `words` for machines that boot it, such as console=ttyS0,115200")
	return cmd
}

func (a commands) runAdd(ctx context.Context, name string, from []string, o addOptions) error {
	if err := store.CheckName(name); err != nil {
		return exit.Usage(err)
	}
	if err := bootline.Check(o.cmdline); err != nil {
		return exit.Usage(err)
	}
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "gild-kernel-")
	if err != nil {
		return fmt.Errorf("room to unpack: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	parts, err := gathered(ctx, st, from, o.release, scratch)
	if err != nil {
		return err
	}
	parts.Config.Cmdline, parts.Config.From = o.cmdline, strings.Join(from, " ")
	k, err := gather.Store(ctx, st, name, parts)
	if err != nil {
		return err
	}
	all, _ := st.Kernels().List()
	s := show(k, all)
	if a.JSON {
		return a.PrintJSON(s)
	}
	fmt.Fprintf(a.Stdout, "%s is %s: kernel %s (%s), %s\n", name, k.Digest.Short(), term.Printable(s.Release), s.Arch, units.Bytes(s.Size))
	if r := parts.Report; r != nil {
		fmt.Fprintln(a.Stdout, r)
		for _, b := range r.Broken {
			fmt.Fprintf(a.Stderr, "note: %s\n", term.Printable(b))
		}
	}
	return nil
}

// gathered finds the kernel in what an operator names.
func gathered(ctx context.Context, st *store.Store, from []string, release, scratch string) (*gather.Parts, error) {
	one := from[0]
	if len(from) == 1 && one == "host" {
		return host()
	}
	if _, err := st.Resolve(one); err == nil && len(from) == 1 {
		parts, err := gather.Image(st, one)
		return parts, input(err)
	}
	info, err := os.Stat(one)
	switch {
	case err != nil:
		return nil, exit.Hint(fmt.Errorf("%.120q is no stored image, no directory and no package: %w", one, err),
			"give host, an image, a directory or the file of a kernel package")
	case info.IsDir() && len(from) > 1:
		return nil, exit.Usage(errors.New("only packages can be several"))
	case info.IsDir():
		parts, err := gather.Tree(os.DirFS(one), release)
		return parts, input(err)
	}
	parts, err := gather.Packages(ctx, from, scratch)
	return parts, input(err)
}

// host is the kernel that runs here.
func host() (*gather.Parts, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("asking for this machine's kernel release: %w", err)
	}
	parts, err := gather.Tree(os.DirFS("/"), unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		return nil, exit.Input(exit.Hint(fmt.Errorf("the kernel of this machine: %w", err),
			"in a container there is none: name the file of a kernel package"))
	}
	return parts, nil
}

func input(err error) error {
	if err == nil {
		return nil
	}
	return exit.Input(err)
}
