package bootcfg

import (
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
)

// choose decides which boot loader is the image's: the one that its firmware
// would start. Where both kinds of firmware would start one, they have to
// agree; where neither would, whatever has a configuration does.
func (f *finder) choose() outcome {
	o := f.chooseKnown()
	if f.strange != "" && f.want == "" {
		o.doubts = append(o.doubts, golden.Doubt{
			About: "the boot loader", Settle: SettleEntry,
			Why: "UEFI firmware starts " + f.strange + ", and what that would start is not known",
		})
	}
	return o
}

func (f *finder) chooseKnown() outcome {
	uefi, bios := firmware{f}.uefi(), firmware{f}.bios()
	switch {
	case len(uefi) > 0 && len(bios) > 0:
		first, second := f.agree(uefi), f.agree(bios)
		if !first.same(&second) {
			first.doubts = append(first.doubts, golden.Doubt{
				About: "the boot loader", Settle: SettleEntry, Alternatives: []string{second.text() + ", as BIOS would start it"},
				Why: "UEFI and BIOS firmware would not start the same, and what UEFI would start is taken",
			})
		}
		return first
	case len(uefi) > 0:
		return f.agree(uefi)
	case len(bios) > 0:
		return f.agree(bios)
	}
	if any := (firmware{f}).anything(); len(any) > 0 {
		o := f.agree(any)
		if f.want == "" && o.loader != "extlinux" { // which U-Boot tries before its script
			o.doubts = append(o.doubts, f.unreadDoubts(func(l unreadLoader) bool { return !l.outlived })...)
		}
		return o
	}
	return f.guess()
}

// candidate is a boot loader that may be the image's.
type candidate func() outcome

// agree takes the first of several that may be the one, and says so where
// another would start something else.
func (f *finder) agree(candidates []candidate) outcome {
	first := candidates[0]()
	for _, c := range candidates[1:] {
		o := c()
		if o.entry == nil && first.entry != nil || first.same(&o) {
			continue
		}
		if first.entry == nil && o.entry != nil && len(first.doubts) == 0 {
			first = o
			continue
		}
		first.doubts = append(first.doubts, golden.Doubt{
			About: "the boot loader", Settle: SettleEntry, Alternatives: []string{o.text() + " by " + o.loader},
			Why: "which of several the firmware would start is not known, and " + first.loader + " is taken",
		})
	}
	return first
}

func (v *Volume) isESP() bool {
	if v.FS == nil {
		return false
	}
	switch v.Type {
	case "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef":
		return true
	}
	return v.Kind == "vfat" && v.exists("EFI")
}

// isXBOOTLDR reports whether a volume is the extended boot loader partition.
func (v *Volume) isXBOOTLDR() bool {
	return v.FS != nil && (v.Type == "bc13c2ff-59e6-4262-a352-b275fd6f7172" || v.Type == "0xea")
}

// firmware finds what the machine's firmware would start.
type firmware struct{ *finder }

// fallbacks are the files that UEFI firmware starts without a boot entry (UEFI
// specification, 3.5.1.1).
var fallbacks = []string{"BOOTX64.EFI", "BOOTAA64.EFI", "BOOTIA32.EFI", "BOOTRISCV64.EFI"}

// uefi are the boot loaders that UEFI firmware would start: the one at the
// fallback path, else those in a vendor's directory. Boot entries of the
// firmware are not in an image.
func (f firmware) uefi() []candidate {
	var all []candidate
	for i := range f.disk.Volumes {
		esp := &f.disk.Volumes[i]
		if !esp.isESP() {
			continue
		}
		if c := f.fallback(esp); len(c) > 0 {
			all = append(all, c...)
			continue
		}
		all = append(all, f.vendors(esp)...)
	}
	return all
}

// fallback is the loader at the fallback path, as far as its file tells what it
// is.
func (f firmware) fallback(esp *Volume) []candidate {
	i := slices.IndexFunc(fallbacks, func(n string) bool { return esp.isFile("EFI/BOOT/" + n) })
	if i < 0 {
		return nil
	}
	file := "EFI/BOOT/" + fallbacks[i]
	suffix := strings.ToLower(strings.TrimPrefix(fallbacks[i], "BOOT"))
	program := identify(esp, file)
	dir := "EFI/BOOT"
	if program.kind == isShim {
		vendors := f.csvDirs(esp, strings.ToUpper(strings.TrimSuffix(suffix, ".efi")))
		if (esp.isFile("EFI/BOOT/fb"+suffix) || esp.isFile("EFI/BOOT/fallback.efi")) && len(vendors) > 0 {
			dir = vendors[0]
		}
		file = path.Join(dir, "grub"+suffix)
		if program = identify(esp, file); program.kind == isNothing {
			return f.espGRUB(esp, dir, program, "/"+dir)
		}
	}
	by := esp.place(file)
	switch program.kind {
	case isGRUB:
		return f.espGRUB(esp, dir, program, by)
	case isSystemdBoot:
		return []candidate{func() outcome { return sdBoot(f).systemdBoot(esp, by) }}
	case isUKI:
		return []candidate{func() outcome { return sdBoot(f).ukiAlone(esp, file) }}
	case isKernel:
		return []candidate{func() outcome { return f.kernelAlone(esp, file) }}
	case isUnknown:
		f.strange = by
		if program.name != "" {
			f.strange = program.name + ", " + by
		}
	}
	return nil
}

// csvDirs are the directories with a file by which shim's fallback makes boot
// entries (shim, README.fallback).
func (f firmware) csvDirs(esp *Volume, arch string) []string {
	var dirs []string
	for _, dir := range esp.dirs("EFI") {
		if !strings.EqualFold(path.Base(dir), "BOOT") && (esp.isFile(dir+"/BOOT"+arch+".CSV") || esp.isFile(dir+"/BOOT.CSV")) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// vendors are the loaders of an ESP without a fallback path: firmware starts
// one of them, by an entry of its own.
func (f firmware) vendors(esp *Volume) []candidate {
	var all []candidate
	for _, dir := range esp.dirs("EFI") {
		if esp.isFile(dir + "/grub.cfg") {
			for _, n := range []string{"grubx64.efi", "grubaa64.efi"} {
				if program := identify(esp, dir+"/"+n); program.kind == isGRUB {
					all = append(all, f.espGRUB(esp, dir, program, esp.place(dir+"/"+n))...)
				}
			}
			start := grubStart{esp, dir + "/grub.cfg", "efi", "by " + esp.place(dir+"/grub.cfg")}
			all = append(all, func() outcome { return grubFinder(f).grub(start) })
		}
	}
	if sdBoot(f).hasSystemdBoot(esp) {
		by := "EFI/systemd"
		for _, dir := range []string{"EFI/Linux", "loader"} {
			if esp.exists(dir) {
				by = dir
			}
		}
		all = append(all, func() outcome { return sdBoot(f).systemdBoot(esp, esp.place(by)) })
	}
	return all
}

// dirs are the directories in a directory.
func (v *Volume) dirs(dir string) []string {
	var names []string
	for _, name := range v.list(dir, "") {
		if len(names) < 64 {
			if info, err := fs.Stat(v.FS, name); err == nil && info.IsDir() {
				names = append(names, name)
			}
		}
	}
	return names
}

// espGRUB are the configurations that a GRUB in dir of an ESP would read:
// beside it, as Red Hat's does; where its prefix leads; and last what else
// there is.
func (f firmware) espGRUB(esp *Volume, dir string, program program, by string) []candidate {
	var starts []grubStart
	add := func(v *Volume, file string) {
		if v.isFile(file) && !slices.ContainsFunc(starts, func(s grubStart) bool { return s.volume == v && s.config == file }) {
			starts = append(starts, grubStart{v, file, "efi", "by " + by})
		}
	}
	switch {
	case program.embedded != nil:
		if v := f.volumeByUUID(program.embedded[0]); v != nil {
			add(v, onVolume(program.embedded[1]+"/grub.cfg"))
		}
	case program.prefix != "":
		add(esp, onVolume(program.prefix+"/grub.cfg"))
		if len(starts) == 0 {
			for i := range f.disk.Volumes {
				if v := &f.disk.Volumes[i]; v.FS != nil && v != esp && len(starts) == 0 {
					add(v, onVolume(program.prefix+"/grub.cfg"))
				}
			}
		}
	}
	if f.system().is("fedora", "rhel", "centos", "rocky", "almalinux", "ol") && esp.isFile(dir+"/grub.cfg") {
		starts = nil
	}
	if len(starts) == 0 {
		add(esp, dir+"/grub.cfg")
	}
	if len(starts) == 0 {
		for _, vendor := range esp.dirs("EFI") {
			add(esp, vendor+"/grub.cfg")
		}
	}
	if len(starts) == 0 {
		starts = grubFinder(f).grubStarts("efi")
	}
	return grubFinder(f).grubs(starts)
}

func (f *finder) volumeByUUID(uuid string) *Volume {
	for i := range f.disk.Volumes {
		if v := &f.disk.Volumes[i]; v.FS != nil && strings.EqualFold(v.UUID, uuid) {
			return v
		}
	}
	return nil
}

func (f grubFinder) grubs(starts []grubStart) []candidate {
	var all []candidate
	for _, start := range starts {
		all = append(all, func() outcome { return f.grub(start) })
	}
	return all
}

// bios are the boot loaders that BIOS firmware would start: the boot code in
// the first sector tells which kind.
func (f firmware) bios() []candidate {
	code := f.disk.BootCode
	switch {
	case len(code) < 440:
		return nil
	case bytes.Contains(code[:440], []byte("GRUB")) && bytes.Contains(code[:440], []byte("Geom")):
		return grubFinder(f).grubs(grubFinder(f).grubStarts("pc"))
	case syslinux(f).bootsSyslinux():
		return syslinux(f).extlinux()
	}
	return nil
}

// bootsSyslinux reports whether the boot code is syslinux's, which starts the
// active partition.
func (f syslinux) bootsSyslinux() bool {
	code := f.disk.BootCode[:min(440, len(f.disk.BootCode))]
	return bytes.Contains(code, []byte("Missing operating system.")) || bytes.Contains(code, []byte("Missing OS"))
}

// anything are the boot loaders that have a configuration, where no firmware is
// known to start one.
func (f firmware) anything() []candidate {
	platform := "pc"
	if slices.ContainsFunc(f.disk.Volumes, func(v Volume) bool { return v.isESP() }) {
		platform = "efi"
	}
	all := grubFinder(f).grubs(grubFinder(f).grubStarts(platform))
	for i := range f.disk.Volumes {
		v := &f.disk.Volumes[i]
		if v.FS == nil || v.foreign() {
			continue
		}
		if v.isESP() {
			all = append(all, f.vendors(v)...)
			continue
		}
		dir := v.systemdDir()
		if dir != "" && (len(all) == 0 || v.isFile(path.Join(dir, "loader/loader.conf"))) {
			all = append(all, func() outcome { return sdBoot(f).systemdBoot(v, v.place(path.Join(dir, "loader"))) })
		}
	}
	return append(all, syslinux(f).extlinux()...)
}

// systemdDir is the directory of a volume that has what systemd-boot reads: its
// own root, or /boot of a system whose boot partition has not been split off.
func (v *Volume) systemdDir() string {
	for _, dir := range []string{".", "boot", "efi", "boot/efi"} {
		if v.isFile(path.Join(dir, "loader/loader.conf")) || len(v.list(path.Join(dir, "loader/entries"), ".conf")) > 0 ||
			len(v.list(path.Join(dir, "EFI/Linux"), ".efi")) > 0 {
			return dir
		}
	}
	return ""
}
