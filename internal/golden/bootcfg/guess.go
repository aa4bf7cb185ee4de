package bootcfg

import (
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
)

// unread are the configurations of boot loaders that are not read, with their names.
var unread = []struct{ file, loader string }{
	{"boot.scr", "U-Boot's script"},
	{"boot.scr.uimg", "U-Boot's script"},
	{"uEnv.txt", "U-Boot's script"},
	{"config.txt", "the Raspberry Pi's firmware"},
	{"limine.conf", "Limine"},
	{"limine.cfg", "Limine"},
	{"limine/limine.conf", "Limine"},
	{"EFI/BOOT/limine.conf", "Limine"},
	{"grub/menu.lst", "GRUB legacy"},
	{"grub/grub.conf", "GRUB legacy"},
	{"EFI/refind/refind.conf", "rEFInd"},
	{"refind_linux.conf", "rEFInd"},
}

// guess takes the newest kernel of the system, for an image whose boot loader is not configured yet.
func (f *finder) guess() outcome {
	o := outcome{loader: "no boot loader"}
	for _, v := range f.linuxVolumes() {
		for _, u := range unread {
			for _, file := range []string{u.file, path.Join("boot", u.file)} {
				if v.isFile(file) {
					o.doubts = append(o.doubts, golden.Doubt{About: "the boot loader", Why: u.loader + " is not read, and " + v.place(file) + " is its", Settle: "--cmdline"})
				}
			}
		}
	}
	v, kernel, order := f.newest()
	if v == nil {
		return o
	}
	release := strings.TrimPrefix(path.Base(kernel), "vmlinuz-")
	if path.Base(kernel) == "vmlinuz" {
		release = path.Base(path.Dir(kernel))
	}
	e := &Entry{Title: "Linux " + release, ID: release, Source: SourceNewest, volume: v, file: kernel}
	for _, name := range []string{"initrd.img-" + release, "initramfs-" + release + ".img", "initrd-" + release, "initramfs-" + release} {
		if file := path.Join(path.Dir(kernel), name); v.isFile(file) {
			e.loose = []string{file}
			break
		}
	}
	if data, err := readFile(f.disk.Tree, "etc/kernel/cmdline"); err == nil {
		e.Source, e.Cmdline = SourceKernelCmdline, strings.Join(strings.Fields(string(data)), " ")
	} else if data, err := readFile(f.disk.Tree, "etc/default/grub"); err == nil {
		e.Source, e.Cmdline = SourceDefaultGRUB, defaultGRUB(string(data))
	}
	if err := f.complete(e); err != nil {
		f.problem(err)
		return o
	}
	o.decide("kernel", "the newest in %s, as %s counts, since no boot loader is configured", path.Dir(v.place(kernel)), order)
	o.decide("command line", "%s", e.Source)
	o.entry = e
	return o
}

// newest finds the newest kernel, by the order of what would configure the boot loader.
func (f *finder) newest() (v *Volume, kernel, order string) {
	compare, order := vercmp.MkconfigUpstream, "grub-mkconfig"
	switch s := f.system(); {
	case s.is("debian", "ubuntu"):
		compare, order = vercmp.Mkconfig, "Debian's grub-mkconfig"
	case s.is("rhel", "centos", "fedora", "rocky", "almalinux", "ol", "suse", "opensuse"):
		compare, order = vercmp.RPM, "rpm"
	}
	for _, v := range f.linuxVolumes() {
		for _, dir := range []string{"boot", "."} {
			if dir == "." && v.Mount != "boot" {
				continue
			}
			var kernels []string
			for _, name := range v.list(dir, "") {
				if base := path.Base(name); strings.HasPrefix(base, "vmlinuz-") && !strings.Contains(base, "rescue") && v.isFile(name) {
					kernels = append(kernels, name)
				}
			}
			if len(kernels) > 0 {
				return v, slices.MaxFunc(kernels, func(a, b string) int { return compare(path.Base(a), path.Base(b)) }), order
			}
		}
	}
	root := &f.disk.Volumes[f.disk.Root]
	if root.FS == nil {
		return nil, "", ""
	}
	var kernels []string
	for _, dir := range root.dirs("usr/lib/modules") {
		if root.isFile(dir + "/vmlinuz") {
			kernels = append(kernels, dir+"/vmlinuz")
		}
	}
	if len(kernels) == 0 {
		return nil, "", ""
	}
	byRelease := func(a, b string) int {
		return compare("vmlinuz-"+path.Base(path.Dir(a)), "vmlinuz-"+path.Base(path.Dir(b)))
	}
	return root, slices.MaxFunc(kernels, byRelease), order
}

// defaultGRUB reads the shell assignments of /etc/default/grub. grub-mkconfig puts the two together.
func defaultGRUB(text string) string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "export ")), "=")
		if ok && !strings.HasPrefix(name, "#") {
			vars[name] = shellValue(value, vars)
		}
	}
	return strings.TrimSpace(vars["GRUB_CMDLINE_LINUX"] + " " + vars["GRUB_CMDLINE_LINUX_DEFAULT"])
}

// shellValue is the value of an assignment: quotes and plain variables are all that such files use.
func shellValue(s string, vars map[string]string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s) && b.Len() < maxCmdline; i++ {
		switch c := s[i]; {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t' || c == ';'):
			return b.String()
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c == '$' && quote != '\'':
			name, length := shellName(s[i+1:])
			b.WriteString(vars[name])
			i += length
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// shellName reads NAME or {NAME}, and tells how long that is.
func shellName(s string) (name string, length int) {
	if rest, ok := strings.CutPrefix(s, "{"); ok {
		name, _, _ = strings.Cut(rest, "}")
		return name, min(len(name)+2, len(s))
	}
	n := 0
	for n < len(s) && (s[n] == '_' || isDigit(s[n]) || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z') {
		n++
	}
	return s[:n], n
}
