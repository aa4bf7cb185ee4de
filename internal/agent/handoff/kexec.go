package handoff

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Kernel is what a kexec needs, as files from here.
type Kernel struct {
	Image   string
	Initrds []string // concatenated in order
	Cmdline string   // the image's own
}

// kexecNoInitramfs is KEXEC_FILE_NO_INITRAMFS of linux/kexec.h.
const kexecNoInitramfs = 4

// Load hands the kernel over to the running one (kexec_file_load(2)). Nothing
// is changed yet; a lockdown refuses unsigned kernels here.
func (k Kernel) Load() error {
	image, err := os.Open(k.Image)
	if err != nil {
		return fmt.Errorf("loading the image's kernel: %w", err)
	}
	defer image.Close()
	flags, initrd := kexecNoInitramfs, -1
	if len(k.Initrds) > 0 {
		f, err := joinInitrds(k.Initrds)
		if err != nil {
			return err
		}
		defer f.Close()
		flags, initrd = 0, int(f.Fd())
	}
	if err := unix.KexecFileLoad(int(image.Fd()), initrd, k.Cmdline, flags); err != nil {
		return fmt.Errorf("loading the image's kernel: %w", err)
	}
	return nil
}

// joinInitrds puts all initrds into one file in memory, each from a multiple
// of four bytes, which the kernel's unpacker expects (initramfs buffer
// format, "pad").
func joinInitrds(paths []string) (*os.File, error) {
	fd, err := unix.MemfdCreate("initrd", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("joining the image's initrds: %w", err)
	}
	out := os.NewFile(uintptr(fd), "initrd")
	for _, path := range paths {
		if err := appendPadded(out, path); err != nil {
			out.Close()
			return nil, fmt.Errorf("joining the image's initrds: %w", err)
		}
	}
	return out, nil
}

func appendPadded(out *os.File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, in)
	if err != nil {
		return err
	}
	_, err = out.Write(make([]byte, -n&3))
	return err
}

// Jump starts the loaded kernel. The kernel flushes nothing: every file
// system must be unmounted or read-only by now. It returns only with an
// error.
func (k Kernel) Jump() error {
	unix.Sync()
	return fmt.Errorf("starting the image's kernel: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC))
}
