package bootcfg

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// guess offers the newest kernel in /boot, for an image whose boot loader is not configured yet.
func (f *finder) guess() {
	kernels, err := fs.Glob(f.fsys, "boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		return
	}
	kernels = slices.DeleteFunc(kernels, func(name string) bool { return strings.Contains(name, "rescue") })
	if len(kernels) == 0 {
		return
	}
	kernel := slices.MaxFunc(kernels, compareVersions)
	release := strings.TrimPrefix(path.Base(kernel), "vmlinuz-")
	e := Entry{Title: "Linux " + release, ID: release, Kernel: kernel}
	for _, name := range []string{"initrd.img-" + release, "initramfs-" + release + ".img", "initrd-" + release, "initramfs-" + release} {
		if _, err := fs.Stat(f.fsys, "boot/"+name); err == nil {
			e.Initrds = []string{"boot/" + name}
			break
		}
	}
	if data, ok := f.read("etc/kernel/cmdline"); ok {
		e.Source, e.Cmdline = SourceKernelCmdline, strings.Join(strings.Fields(string(data)), " ")
	} else if data, ok := f.read("etc/default/grub"); ok {
		e.Source, e.Cmdline = SourceDefaultGRUB, defaultGRUB(string(data))
	} else {
		return
	}
	f.add(e.Source, []Entry{e}, "")
}

// defaultGRUB reads the shell assignments of /etc/default/grub, whose syntax GRUB's own covers.
func defaultGRUB(src string) string {
	vars := make(map[string]string)
	scan := grubScanner{src: src, vars: vars}
	for {
		words, err := scan.next()
		if err != nil || words == nil {
			break
		}
		if name, value, ok := strings.Cut(words[0].text, "="); ok && len(words) == 1 && len(value) <= maxExpanded/2 {
			vars[name] = value
		}
	}
	return strings.TrimSpace(vars["GRUB_CMDLINE_LINUX"] + " " + vars["GRUB_CMDLINE_LINUX_DEFAULT"])
}
