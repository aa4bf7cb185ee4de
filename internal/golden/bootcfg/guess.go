package bootcfg

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
)

// unreadLoader is the configuration of a boot loader that is not read.
type unreadLoader struct {
	file, loader string
	// outlived: the loader that came after it left the file in its place.
	outlived bool
}

var unread = []unreadLoader{
	{"boot.scr", "U-Boot's script", false},
	{"boot.scr.uimg", "U-Boot's script", false},
	{"uEnv.txt", "U-Boot's script", false},
	{"armbianEnv.txt", "U-Boot's script", false},
	{"boot.ini", "U-Boot's script", false},
	{"config.txt", "the Raspberry Pi's firmware", false},
	{"limine.conf", "Limine", false},
	{"limine.cfg", "Limine", false},
	{"limine/limine.conf", "Limine", false},
	{"EFI/BOOT/limine.conf", "Limine", false},
	{"EFI/refind/refind.conf", "rEFInd", false},
	{"EFI/BOOT/refind.conf", "rEFInd", false},
	{"refind_linux.conf", "rEFInd", false},
	{"grub/menu.lst", "GRUB legacy", true},
	{"grub/grub.conf", "GRUB legacy", true},
	{"etc/lilo.conf", "LILO", true},
	{"etc/zipl.conf", "zipl", true},
	{"etc/yaboot.conf", "yaboot", true},
}

// unreadDoubts say that a boot loader decides that is not read.
func (f *finder) unreadDoubts(which func(unreadLoader) bool, kernels ...string) []golden.Doubt {
	var doubts []golden.Doubt
	for _, v := range f.linuxVolumes() {
		for _, u := range unread {
			for _, file := range []string{u.file, path.Join("boot", u.file)} {
				if v.isFile(file) && which(u) {
					doubts = append(doubts, golden.Doubt{
						About: "the boot loader", Settle: SettleEntry, Alternatives: kernels,
						Why: u.loader + " is not read, and " + v.place(file) + " is its",
					})
				}
			}
		}
	}
	return doubts
}

// guess takes the newest kernel of the system, for an image whose boot loader
// is not configured yet, or the one that the operator names by its release.
func (f *finder) guess() outcome {
	o := outcome{loader: "no boot loader"}
	v, kernels, order, rivals := f.newest()
	if v == nil {
		o.doubts = f.unreadDoubts(func(unreadLoader) bool { return true })
		return o
	}
	var releases []string
	for _, k := range kernels {
		releases = append(releases, releaseOf(k))
	}
	others := f.unreadDoubts(func(unreadLoader) bool { return true }, releases[1:min(8, len(releases))]...)
	kernel := kernels[0]
	if f.want != "" {
		i := slices.Index(releases, strings.TrimPrefix(f.want, "vmlinuz-"))
		if i < 0 {
			o.doubts = []golden.Doubt{{
				About: "the default entry", Settle: SettleEntry, Alternatives: releases[:min(8, len(releases))],
				Why: fmt.Sprintf("no boot loader is read, and no kernel has the release %q", f.want),
			}}
			return o
		}
		kernel = kernels[i]
		o.decide("kernel", "%s, since no boot loader is read", SettleEntry)
	} else {
		o.doubts = others
		if len(rivals) > 0 {
			o.doubts = append(o.doubts, golden.Doubt{
				About: "the default entry", Settle: SettleEntry, Alternatives: rivals,
				Why: fmt.Sprintf("no boot loader is configured, and which kernel is the newest depends on whose order of versions counts: %s "+
					"is that in GRUB's", releases[0]),
			})
		}
		o.decide("kernel", "the newest in %s, as %s counts, since no boot loader is configured", path.Dir(v.place(kernel)), order)
	}
	if len(others) > 0 {
		o.doubts = append(o.doubts, golden.Doubt{
			About: "the command line",
			Why:   "it stands in the configuration of a boot loader that is not read", Settle: "--cmdline",
		})
	}
	release := releaseOf(kernel)
	e := &Entry{Title: "Linux " + release, ID: release, Source: SourceNewest, volume: v, file: kernel}
	for _, name := range []string{
		"initrd.img-" + release, "initrd-" + release + ".img", "initrd-" + release + ".gz", "initrd-" + release,
		"initramfs-" + release + ".img", "initramfs-" + release, "initramfs-genkernel-" + release,
	} {
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
	o.decide("command line", "%s", e.Source)
	o.entry = e
	return o
}

// releaseOf is what a kernel's path says of its release.
func releaseOf(kernel string) string {
	if base := path.Base(kernel); base != "vmlinuz" {
		return strings.TrimPrefix(strings.TrimPrefix(base, "vmlinuz-"), "kernel-")
	}
	return path.Base(path.Dir(kernel))
}

// newest finds the kernels, the newest first, by the order of what would
// configure the boot loader. Where that is not known, rivals are what is newest
// in other orders.
func (f *finder) newest() (v *Volume, kernels []string, order string, rivals []string) {
	compare, order := vercmp.MkconfigUpstream, "grub-mkconfig"
	known := true
	switch s := f.system(); {
	case s.is("debian", "ubuntu"):
		compare, order = vercmp.Mkconfig, "Debian's grub-mkconfig"
	case s.is("rhel", "centos", "fedora", "rocky", "almalinux", "ol", "suse", "opensuse"):
		compare, order = vercmp.RPM, "rpm"
	default:
		known = s.is("arch", "gentoo", "alpine", "void", "slackware")
	}
	if v, kernels = f.kernels(); v == nil {
		return nil, nil, "", nil
	}
	first := func(compare func(a, b string) int) string {
		slices.SortStableFunc(kernels, func(a, b string) int { return compare("vmlinuz-"+releaseOf(b), "vmlinuz-"+releaseOf(a)) })
		return releaseOf(kernels[0])
	}
	others := []string{first(vercmp.Mkconfig), first(vercmp.RPM)}
	newest := first(compare)
	for _, r := range others {
		if !known && r != newest && !slices.Contains(rivals, r) {
			rivals = append(rivals, r)
		}
	}
	return v, kernels, order, rivals
}

// kernels are those of the system: in /boot, as GRUB's 10_linux looks for them,
// else beside their modules.
func (f *finder) kernels() (*Volume, []string) {
	for _, v := range f.linuxVolumes() {
		for _, dir := range []string{"boot", "."} {
			if dir == "." && v.Mount != "boot" {
				continue
			}
			var kernels []string
			for _, name := range v.list(dir, "") {
				base := path.Base(name)
				kernel := strings.HasPrefix(base, "vmlinuz-") || strings.HasPrefix(base, "kernel-")
				if kernel && !strings.Contains(base, "rescue") && !garbage(base) && v.isFile(name) {
					kernels = append(kernels, name)
				}
			}
			if len(kernels) > 0 {
				return v, kernels
			}
		}
	}
	root := &f.disk.Volumes[f.disk.Root]
	if root.FS == nil {
		return nil, nil
	}
	var kernels []string
	for _, dir := range root.dirs("usr/lib/modules") {
		if root.isFile(dir + "/vmlinuz") {
			kernels = append(kernels, dir+"/vmlinuz")
		}
	}
	if len(kernels) == 0 {
		return nil, nil
	}
	return root, kernels
}

// garbage is what package managers leave beside a file, and signatures of it
// (grub-mkconfig_lib, grub_file_is_not_garbage).
func garbage(name string) bool {
	return strings.Contains(name, ".dpkg-") ||
		slices.ContainsFunc([]string{".rpmsave", ".rpmnew", ".sig"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// defaultGRUB reads the shell assignments of /etc/default/grub. grub-mkconfig
// puts the two together.
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

// shellValue is the value of an assignment: quotes and plain variables are all
// that such files use.
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
