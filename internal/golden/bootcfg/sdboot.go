package bootcfg

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
)

// bootEntry is an entry of systemd-boot's menu, of either type.
type bootEntry struct {
	id                          string // the file's name with its suffix, in lower case
	title                       string
	sortKey, machineID, version string
	architecture                string // of UEFI: x64, aa64; empty for any
	profile                     int
	suffix                      string // of the id, for a profile but the first
	left, done                  int    // boot counting; left is -1 without it

	volume  *Volume
	base    string // directory of the volume that paths start at; "." but where /boot is no partition
	kernel  string
	initrds []string
	cmdline string
	source  string
	instead string         // a program that is no Linux
	listed  bool           // systemd-boot shows it
	doubts  []golden.Doubt // that it brings
	addons  []golden.Decision
}

// systemdBoot is what systemd-boot on that volume would start (src/boot/boot.c).
func (f *finder) systemdBoot(esp *Volume, by string) outcome {
	o := outcome{loader: "systemd-boot"}
	o.decide("boot loader", "systemd-boot, by %s", by)
	dir := cmp.Or(esp.systemdDir(), ".")
	entries := f.bootEntries(esp, dir)
	for i := range f.disk.Volumes {
		if v := &f.disk.Volumes[i]; v != esp && v.isXBOOTLDR() {
			entries = append(entries, f.bootEntries(v, ".")...)
		}
	}
	entries = slices.DeleteFunc(entries, func(e bootEntry) bool { return !f.runs(esp, &e) })
	if shown := slices.DeleteFunc(slices.Clone(entries), func(e bootEntry) bool { return !e.listed }); len(shown) > 0 {
		entries = shown
	}
	if len(entries) == 0 {
		o.loader = ""
		return o
	}
	slices.SortStableFunc(entries, compareEntries)
	confName := path.Join(dir, "loader/loader.conf")
	conf, _ := f.read(esp, confName)
	chosen := f.pick(&o, esp, entries, esp.place(confName), loaderConf(conf))
	if chosen == nil {
		return o
	}
	f.takeEntry(&o, chosen, entryIDs(entries))
	return o
}

// pick selects an entry: the operator's, that of loader.conf, or the first that may start by itself.
func (f *finder) pick(o *outcome, esp *Volume, configured []bootEntry, confName string, keys map[string]string) *bootEntry {
	entries := append(slices.Clip(configured), autoEntries(esp, keys)...)
	for _, key := range []string{"preferred", "default"} {
		pattern, from := keys[key], confName+": "+key+" "+keys[key]
		if f.want != "" {
			pattern, from = f.want, SettleEntry
		}
		if pattern == "" || strings.HasPrefix(pattern, "@") {
			continue
		}
		counted, plain := match(entries, pattern, true), match(entries, pattern, false)
		chosen := cmp.Or(plain, counted)
		if chosen == nil || key == "preferred" && chosen.bad() {
			continue
		}
		if counted != plain {
			d := golden.Doubt{
				About: "the default entry", Settle: SettleEntry,
				Why: fmt.Sprintf("whether %q means a name with its boot counter depends on the version of systemd-boot", pattern),
			}
			if counted == nil {
				counted = firstGood(configured)
			}
			if counted != chosen {
				d.Alternatives = []string{counted.id}
				o.doubts = append(o.doubts, d)
			}
		}
		o.decide("default entry", "%s", from)
		return chosen
	}
	if f.want != "" {
		o.nothing(fmt.Sprintf("no entry that is called %q", f.want), entryIDs(entries)...)
		return nil
	}
	o.decide("default entry", "the order of the entries, %s is first", firstGood(configured).id)
	return firstGood(configured)
}

func entryIDs(entries []bootEntry) []string {
	var ids []string
	for _, e := range entries {
		if len(ids) < 8 {
			ids = append(ids, e.id)
		}
	}
	return ids
}

func firstGood(entries []bootEntry) *bootEntry {
	return &entries[max(0, slices.IndexFunc(entries, func(e bootEntry) bool { return !e.bad() }))]
}

// match is the first entry whose id a glob matches: with its counter in it, as to version 258, or without.
func match(entries []bootEntry, pattern string, counted bool) *bootEntry {
	for i := range entries {
		id := entries[i].id
		if !counted {
			id, _, _ = cutCounter(id)
		}
		if ok, err := path.Match(strings.ToLower(pattern), id); ok && err == nil {
			return &entries[i]
		}
	}
	return nil
}

// loaderConf reads the keys of loader.conf; the last line of a key counts.
func loaderConf(conf string) map[string]string {
	keys := map[string]string{}
	for key, value := range confLines(conf) {
		// A name that systemd-boot does not know is no name: the line before stays.
		if key == "default" && strings.HasPrefix(value, "@") && value != "@saved" {
			continue
		}
		keys[key] = value
	}
	return keys
}

// confLines are the lines of loader.conf and of entries (src/boot/efi-string.c, line_get_key_value).
func confLines(text string) func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
			line = strings.Trim(line, " \t")
			if line == "" || line[0] == '#' {
				continue
			}
			i := strings.IndexAny(line, " \t")
			if i < 0 {
				continue
			}
			key, value := line[:i], strings.TrimLeft(line[i:], " \t")
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

func (e *bootEntry) bad() bool { return e.left == 0 }

// compareEntries is the order of the menu (boot.c, boot_entry_compare).
func compareEntries(a, b bootEntry) int {
	first := func(a, b bool) int {
		switch {
		case a && !b:
			return -1
		case b && !a:
			return 1
		}
		return 0
	}
	c := cmp.Or(first(!a.bad(), !b.bad()), first(a.sortKey != "", b.sortKey != ""))
	if c == 0 && a.sortKey != "" {
		c = cmp.Or(strings.Compare(a.sortKey, b.sortKey), strings.Compare(a.machineID, b.machineID), vercmp.UAPI(b.version, a.version))
	}
	if c == 0 {
		aID, _, _ := cutCounter(strings.TrimSuffix(a.id, a.suffix))
		bID, _, _ := cutCounter(strings.TrimSuffix(b.id, b.suffix))
		c = cmp.Or(vercmp.UAPI(bID, aID), cmp.Compare(a.profile, b.profile))
	}
	if c == 0 && a.left >= 0 && b.left >= 0 {
		c = cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.done, b.done))
	}
	return c
}

// cutCounter takes the boot counter +LEFT or +LEFT-DONE off a file name, where it stands directly before the suffix.
func cutCounter(name string) (plain string, left, done int) {
	stem, suffix := name, ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		stem, suffix = name[:i], name[i:]
	}
	i := strings.LastIndexByte(stem, '+')
	if i < 0 {
		return name, -1, 0
	}
	l, d, both := strings.Cut(stem[i+1:], "-")
	left, err := counter(l)
	if err != nil {
		return name, -1, 0
	}
	if both {
		if done, err = counter(d); err != nil {
			return name, -1, 0
		}
	}
	return stem[:i] + suffix, left, done
}

func counter(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err //nolint:gosec // 31 bits
}

// bootEntries are the entries of both types on a volume.
func (f *finder) bootEntries(v *Volume, dir string) []bootEntry {
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

// type1 reads an entry of the Boot Loader Specification as systemd-boot does (boot.c, boot_entry_add_type1).
func (f *finder) type1(v *Volume, dir, name, text string) (bootEntry, error) {
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
	// Paths start at the root of the partition. Where /boot is none, they may have been written for one that is to be.
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

// efiProgram looks into the program of a type 1 entry: a unified kernel image, a kernel, or something else.
func (f *finder) efiProgram(e *bootEntry, kind, options string) error {
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
		if _, _, err := KernelRelease(r); err == nil {
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
func (f *finder) type2(v *Volume, dir, name string) []bootEntry {
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

// ukiAlone is a unified kernel image that firmware starts itself.
func (f *finder) ukiAlone(v *Volume, name string) outcome {
	o := outcome{loader: "the firmware"}
	o.decide("boot loader", "none, the firmware starts %s", v.place(name))
	entries := f.type2(v, ".", name)
	if len(entries) == 0 {
		o.nothing(v.place(name) + ", which cannot be read")
		return o
	}
	f.takeEntry(&o, &entries[0], nil)
	return o
}

// takeEntry makes the outcome of the entry that is started.
func (f *finder) takeEntry(o *outcome, b *bootEntry, all []string) {
	if b.instead != "" {
		o.nothing(b.instead, all...)
		return
	}
	if b.bad() {
		o.doubts = append(o.doubts, golden.Doubt{About: "the default entry", Why: b.id + " has no tries left, and it is started all the same", Settle: SettleEntry})
	}
	e := &Entry{Title: cmp.Or(b.title, b.id), ID: b.id, Cmdline: b.cmdline, Source: b.source, volume: b.volume, file: b.kernel}
	for _, name := range b.initrds {
		file := path.Join(b.base, onVolume(name))
		if !b.volume.isFile(file) {
			o.nothing(fmt.Sprintf("the entry %s, whose initrd %s is not there", b.id, b.volume.place(file)), all...)
			return
		}
		e.loose = append(e.loose, file)
	}
	if err := f.complete(e); err != nil {
		o.nothing(fmt.Sprintf("the entry %s, which no kernel takes: %v", b.id, err), all...)
		return
	}
	o.doubts = append(o.doubts, b.doubts...)
	o.decided = append(o.decided, b.addons...)
	o.decide("kernel and command line", "%s", cmp.Or(map[bool]string{true: b.volume.place(b.kernel)}[b.source == SourceUKI], b.volume.place(path.Join(b.base, "loader/entries", b.id))))
	o.entry = e
}

// addons appends the command lines of a unified kernel image's addons (src/boot/stub.c, load_all_addons): the common ones,
// then its own, each directory in the order of bytes.
func (f *finder) addons(e *bootEntry, p ukiProfile) {
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
				e.doubts = append(e.doubts, golden.Doubt{About: "the command line", Why: fmt.Sprintf("the addon %s is not taken: %v", e.volume.place(name), err), Settle: "--cmdline"})
				continue
			}
			e.cmdline = strings.TrimSpace(e.cmdline + " " + addon.cmdline)
			e.addons = append(e.addons, golden.Decision{What: "part of the command line", By: "the addon " + e.volume.place(name)})
		}
	}
}

// printableLine is what the stub makes of a command line: control characters become blanks.
func printableLine(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(p)))
}
