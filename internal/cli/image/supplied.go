package image

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/inspect"
	"github.com/gild-dev/gild/internal/golden/vmlinuz"
)

// supplied are the flags for what an image does not say itself, or not as it
// is wanted.
type supplied struct {
	root    int
	kernel  string
	modules string
	cmdline string
	handoff string
	initrds []string
	entry   string
}

func (o *supplied) register(f *pflag.FlagSet) {
	f.IntVar(&o.root, "root", 0, "`number` of the partition with the root file system")
	f.StringVar(&o.kernel, "kernel", "", "kernel `file`, or \"host\" for the kernel and modules of this machine")
	f.StringVar(&o.modules, "modules", "", "`directory` that holds lib/modules/RELEASE for the kernel")
	f.StringVar(&o.cmdline, "cmdline", "", "kernel command line, instead of the image's own")
	f.StringVar(&o.handoff, "handoff", "", "default handoff for machines that get this image, such as instant (default: auto)")
	f.StringSliceVar(&o.initrds, "initrd", nil, "`path` of an initrd in the image, for kexec; may be repeated")
	f.StringVar(&o.entry, "entry", "", "`ID` or title of an entry in the image's boot menu, instead of the default; a>b is b in submenu a")
}

// given reads what the flags supply.
func (o supplied) given() (inspect.Given, error) {
	g := inspect.Given{Root: o.root, Cmdline: o.cmdline, Handoff: o.handoff, Initrds: o.initrds, Entry: o.entry}
	kernel, modules := o.kernel, o.modules
	if kernel == "host" {
		release, err := hostRelease()
		if err != nil {
			return g, err
		}
		kernel = filepath.Join("/boot", "vmlinuz-"+release)
		modules = cmp.Or(modules, "/")
	}
	if kernel != "" {
		p, err := readKernel(kernel)
		if errors.Is(err, fs.ErrNotExist) && o.kernel == "host" {
			return g, exit.Input(fmt.Errorf("the kernel of this machine is not in /boot: %w", err))
		}
		if err != nil {
			return g, exit.Input(fmt.Errorf("reading the kernel: %w", err))
		}
		g.Kernel = p
	}
	if modules != "" {
		info, err := os.Stat(modules)
		if err != nil {
			return g, fmt.Errorf("looking for modules: %w", err)
		}
		if !info.IsDir() {
			return g, exit.Usage(fmt.Errorf("--modules %s is not a directory", modules))
		}
		g.Modules = os.DirFS(modules)
	}
	return g, nil
}

// readKernel reads the file of a kernel that the operator names.
func readKernel(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := vmlinuz.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func hostRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("asking for this machine's kernel release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
