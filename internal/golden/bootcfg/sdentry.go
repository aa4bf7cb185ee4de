package bootcfg

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/vmlinuz"
)

// bootEntries are the entries of both types on a volume.
func (f sdBoot) bootEntries(v *Volume, dir string) []bootEntry {
	var entries []bootEntry
	for _, name := range v.list(path.Join(dir, "EFI/Linux"), ".efi") {
		if validName(name) {
			entries = append(entries, f.type2(v, dir, name)...)
		}
	}
	for _, name := range v.list(path.Join(dir, "loader/entries"), ".conf") {
		text, ok := f.read(v, name)
		if !ok || !validName(name) {
			continue
		}
		e, err := f.type1(v, dir, name, text)
		if err != nil {
			f.problem(fmt.Errorf("%s: %w", v.place(name), err))
			continue
		}
		entries = append(entries, e)
	}
	return entries[:min(len(entries), maxEntries)]
}

func validName(name string) bool {
	base := strings.ToLower(path.Base(name))
	return !strings.HasPrefix(base, ".") && !strings.HasPrefix(base, "auto-")
}

// type1 reads an entry of the Boot Loader Specification as systemd-boot does
// (boot.c, boot_entry_add_type1).
func (f sdBoot) type1(v *Volume, dir, name, text string) (bootEntry, error) {
	e := bootEntry{id: strings.ToLower(path.Base(name)), volume: v, base: dir, source: SourceSystemdBoot, listed: true}
	_, e.left, e.done = cutCounter(e.id)
	var options []string
	var kinds []string
	for key, value := range confLines(text) {
		switch key {
		case "title":
			e.title = value
		case "version":
			e.version = value
		case "machine-id":
			e.machineID = value
		case "sort-key":
			e.sortKey = value
		case "architecture":
			e.architecture = strings.ToLower(value)
		case "linux", "efi", "uki", "uki-url":
			e.kernel = value
			kinds = append(kinds, key)
		case "initrd":
			e.initrds = append(e.initrds, value)
		case "options":
			options = append(options, value)
		case "profile":
			e.profile, _ = strconv.Atoi(value)
		}
	}
	e.cmdline = strings.Join(options, " ")
	if len(kinds) != 1 || kinds[0] == "uki-url" {
		return e, fmt.Errorf("it has %d of the keys linux, efi and uki; want one", len(kinds))
	}
	// Paths start at the root of the partition. Where /boot is none, they may have
	// been written for one that is to be.
	for _, base := range []string{".", dir} {
		if name := path.Join(base, onVolume(e.kernel)); v.isFile(name) {
			e.kernel, e.base, kinds = name, base, append(kinds, "found")
			break
		}
	}
	if len(kinds) == 1 {
		return e, fmt.Errorf("%s: %w", v.place(onVolume(e.kernel)), fs.ErrNotExist)
	}
	if kinds[0] != "linux" {
		return e, f.efiProgram(&e, kinds[0], e.cmdline)
	}
	return e, nil
}

// efiProgram looks into the program of a type 1 entry: a unified kernel image,
// a kernel, or something else.
func (f sdBoot) efiProgram(e *bootEntry, kind, options string) error {
	image, err := openUKI(e.volume, e.kernel)
	if err == nil {
		profile := image.profile(e.profile)
		e.source = SourceUKI
		e.cmdline = profile.cmdline
		if options != "" { // the stub takes them instead, unless Secure Boot is on
			e.cmdline = options
		}
		f.addons(e, profile)
		return nil
	}
	if kind == "uki" {
		return err
	}
	file, err := e.volume.FS.Open(e.kernel)
	if err != nil {
		return err
	}
	defer file.Close()
	if r, ok := file.(io.ReaderAt); ok {
		if _, _, err := vmlinuz.Release(r); err == nil {
			for _, w := range cutWords(e.cmdline) {
				if name, ok := strings.CutPrefix(w, "initrd="); ok {
					e.initrds = append(e.initrds, name)
				}
			}
			return nil
		}
	}
	e.instead = "the program " + e.volume.place(e.kernel)
	return nil
}

// type2 reads a unified kernel image: an entry for each of its profiles.
func (f sdBoot) type2(v *Volume, dir, name string) []bootEntry {
	image, err := openUKI(v, name)
	if err != nil {
		f.problem(fmt.Errorf("%s: %w", v.place(name), err))
		return nil
	}
	var entries []bootEntry
	for i := range image.profiles {
		p := image.profile(i)
		e := bootEntry{
			id: strings.ToLower(path.Base(name)), volume: v, base: dir, kernel: name, source: SourceUKI, profile: i,
			title: p.title, version: p.version, sortKey: p.sortKey, cmdline: p.cmdline, listed: p.title != "",
		}
		_, e.left, e.done = cutCounter(e.id)
		if i > 0 {
			e.suffix = "@" + strings.ToLower(cmp.Or(p.id, strconv.Itoa(i)))
			e.id += e.suffix
		}
		f.addons(&e, p)
		entries = append(entries, e)
	}
	return entries
}

// addons appends the command lines of a unified kernel image's addons
// (src/boot/stub.c, load_all_addons): the common ones, then its own, each
// directory in the order of bytes.
func (f sdBoot) addons(e *bootEntry, p ukiProfile) {
	plain, _, _ := cutCounter(path.Base(e.kernel))
	for _, dir := range []string{path.Join(e.base, "loader/addons"), path.Join(path.Dir(e.kernel), plain+".extra.d")} {
		names := e.volume.list(dir, ".addon.efi")
		slices.Sort(names)
		for _, name := range names {
			addon, err := openAddon(e.volume, name)
			switch {
			case err != nil:
			case addon.kernel:
				err = fmt.Errorf("it holds a kernel")
			case addon.uname != "" && p.uname != "" && addon.uname != p.uname:
				err = fmt.Errorf("it is for the kernel %s", addon.uname)
			}
			if err != nil {
				e.doubts = append(e.doubts, golden.Doubt{
					About: "the command line",
					Why:   fmt.Sprintf("the addon %s is not taken: %v", e.volume.place(name), err), Settle: "--cmdline",
				})
				continue
			}
			e.cmdline = strings.TrimSpace(e.cmdline + " " + addon.cmdline)
			e.addons = append(e.addons, golden.Decision{What: "part of the command line", By: "the addon " + e.volume.place(name)})
		}
	}
}
