package bootspec

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
)

// Which kernel runs the agent, and how the machine leaves it: what the image
// can, what is asked for and what is stored decide.
func TestWhichKernel(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"plain": "", "switch": "", "kexec": "", "foreign": "", "line": "", "supplied": ""})
	linux := golden.Boot{
		Arch: "amd64", KernelRelease: "6.1", Kernel: "/vmlinuz", Cmdline: "root=/dev/sda1 quiet console=ttyS1",
		Init: "/sbin/init", Root: golden.Root{FileSystem: "ext4"},
	}
	for name, change := range map[string]func(*golden.Boot){
		"switch":   func(*golden.Boot) {},
		"kexec":    func(b *golden.Boot) { b.Cmdline += " cryptdevice=x" },
		"foreign":  func(b *golden.Boot) { b.Arch = "riscv64" },
		"line":     func(b *golden.Boot) { b.Cmdline = "a=$b" },
		"supplied": func(b *golden.Boot) { b.Kernel, b.Root.FileSystem = "", "zfs" },
	} {
		boot := linux
		change(&boot)
		bootspectest.GiveBoot(t, st, name, boot)
	}
	f := &Files{Store: st, Agent: bootspectest.Agents("amd64", "arm64"), Dir: t.TempDir()}
	spec := func(image, arch, handoff string) (Spec, error) {
		t.Helper()
		im, err := st.Image(image)
		if err != nil {
			t.Fatal(err)
		}
		return f.Spec(t.Context(), Question{Image: im.Digest, Arch: arch, Handoff: handoff})
	}
	// With no boot kernel an image has its own, or none.
	for image, want := range map[string]string{"plain": "no kernel", "switch": "", "kexec": "", "foreign": "agent for riscv64"} {
		s, err := spec(image, "", "")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || s.BootKernel != "" {
			t.Errorf("%s without boot kernels: %+v, %v; want %q", image, s, err, want)
		}
	}
	bootspectest.AddKernel(t, st, "new", bootkernel.Config{Arch: "amd64", Release: "6.12", Cmdline: "console=ttyS0"})
	bootspectest.AddKernel(t, st, "old", bootkernel.Config{Arch: "amd64", Release: "5.10"})
	bootspectest.AddKernel(t, st, "arm", bootkernel.Config{Arch: "arm64", Release: "6.6"})
	for _, tt := range []struct {
		image, arch, handoff string
		named                string // by --boot-kernel
		kernel, cmdline, way string
	}{
		{image: "plain", kernel: "new", cmdline: "console=ttyS0", way: "reboot"},
		{image: "plain", arch: "i386", kernel: "new", cmdline: "console=ttyS0", way: "reboot"},
		{image: "plain", arch: "arm64", kernel: "arm", way: "reboot"},
		{image: "plain", named: "old", kernel: "old", way: "reboot"},
		{image: "plain", named: "old", arch: "arm64", kernel: "arm", way: "reboot"},
		{image: "plain", named: "gone", kernel: "new", cmdline: "console=ttyS0", way: "reboot"},
		{image: "switch", cmdline: "root=/dev/sda1 quiet console=ttyS1", way: "switch_root"},
		{image: "switch", handoff: "kexec", cmdline: "root=/dev/sda1 quiet console=ttyS1", way: "kexec"},
		{image: "switch", handoff: "reboot", cmdline: "root=/dev/sda1 quiet console=ttyS1", way: "reboot"},
		{image: "kexec", kernel: "new", cmdline: "console=ttyS0 console=ttyS1", way: "kexec"},
		{image: "kexec", handoff: "switch_root", cmdline: "root=/dev/sda1 quiet console=ttyS1 cryptdevice=x", way: "switch_root"},
		{image: "foreign", arch: "amd64", kernel: "new", cmdline: "console=ttyS0 console=ttyS1", way: "kexec"},
		{image: "line", kernel: "new", cmdline: "console=ttyS0", way: "kexec"},
		{image: "supplied", kernel: "new", cmdline: "console=ttyS0 console=ttyS1", way: "reboot"},
	} {
		f.BootKernel = tt.named
		s, err := spec(tt.image, tt.arch, tt.handoff)
		if err != nil || s.BootKernel != tt.kernel || s.Cmdline != tt.cmdline || s.Handoff != tt.way || s.Why == "" {
			t.Errorf("%+v: got %+v, %v", tt, s, err)
		}
	}
	if _, err := spec("plain", "riscv64", ""); !errors.Is(err, errNoKernel) {
		t.Errorf("plain for a machine that no boot kernel is for: %v; want errNoKernel", err)
	}
}

// A machine that was told of a boot kernel gets its files, also when another
// one has become the newest.
func TestFilesOfABootKernel(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"plain": ""})
	f := &Files{Store: st, Agent: bootspectest.Agents("amd64"), Dir: t.TempDir()}
	first := bootspectest.AddKernel(t, st, "first", bootkernel.Config{Arch: "amd64", Release: "6.1", Initramfs: "zstd"})
	im, err := st.Image("plain")
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Spec(t.Context(), Question{Image: im.Digest})
	if err != nil || s.Source != first.Digest {
		t.Fatalf("Spec = %+v, %v", s, err)
	}
	bootspectest.AddKernel(t, st, "second", bootkernel.Config{Arch: "amd64", Release: "6.2", Initramfs: "zstd"})
	for file, want := range map[string]string{Kernel: "boot kernel first", Initramfs: ""} {
		opened, err := f.Open(t.Context(), s.Source, file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(opened)
		opened.Close()
		if err != nil || len(p) == 0 || want != "" && string(p) != want {
			t.Errorf("%s: %d bytes, %v", file, len(p), err)
		}
	}
	// What is built ahead is what machines may be sent to now.
	if err := f.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(f.Dir)
	if err != nil || len(kept) != 1 {
		t.Errorf("%d initramfs files are kept, %v; want that of the newest", len(kept), err)
	}
	if err := st.Kernels().Remove(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(t.Context(), s.Source, Kernel); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of what was removed = %v; want fs.ErrNotExist", err)
	}
}

// Every way that is foretold is one that an operator knows.
func TestForetellIsAHandoff(t *testing.T) {
	for _, asked := range append(api.HandoffNames(), "") {
		for _, own := range []bool{true, false} {
			way, why := foretell(&golden.Config{Boot: &golden.Boot{Kernel: "/k", Init: "/i", Root: golden.Root{FileSystem: "ext4"}}}, asked, own)
			if way == "" || way == api.HandoffAuto || why == "" {
				t.Errorf("foretell(%q, %v) = %q, %q", asked, own, way, why)
			}
		}
	}
}
