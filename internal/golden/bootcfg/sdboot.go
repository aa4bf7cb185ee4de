package bootcfg

import (
	"bytes"
	"cmp"
	"fmt"
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

	volume *Volume
	// directory of the volume that paths start at; "." but where /boot is no
	// partition
	base    string
	kernel  string
	initrds []string
	cmdline string
	source  string
	instead string         // a program that is no Linux
	listed  bool           // systemd-boot shows it
	doubts  []golden.Doubt // that it brings
	addons  []golden.Decision
}

// sdBoot finds what systemd-boot would start, or the firmware as systemd-boot
// would.
type sdBoot struct{ *finder }

// hasSystemdBoot reports whether systemd-boot has left its directories on an
// ESP.
func (f sdBoot) hasSystemdBoot(esp *Volume) bool {
	if esp.isFile("loader/loader.conf") || esp.exists("EFI/systemd") || len(esp.list("EFI/Linux", ".efi")) > 0 {
		return true
	}
	return len(esp.list("loader/entries", ".conf")) > 0 && !slices.ContainsFunc(esp.dirs("EFI"), func(dir string) bool {
		return esp.isFile(dir + "/grub.cfg")
	})
}

// systemdBoot is what systemd-boot on that volume would start
// (src/boot/boot.c).
func (f sdBoot) systemdBoot(esp *Volume, by string) outcome {
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

// pick selects an entry: the operator's, that of loader.conf, or the first that
// may start by itself.
func (f sdBoot) pick(o *outcome, esp *Volume, configured []bootEntry, confName string, keys map[string]string) *bootEntry {
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

// match is the first entry whose id a glob matches: with its counter in it, as
// to version 258, or without.
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

// confLines are the lines of loader.conf and of entries (src/boot/efi-string.c,
// line_get_key_value).
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

// cutCounter takes the boot counter +LEFT or +LEFT-DONE off a file name, where
// it stands directly before the suffix.
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

// ukiAlone is a unified kernel image that firmware starts itself.
func (f sdBoot) ukiAlone(v *Volume, name string) outcome {
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
func (f sdBoot) takeEntry(o *outcome, b *bootEntry, all []string) {
	if b.instead != "" {
		o.nothing(b.instead, all...)
		return
	}
	if b.bad() {
		o.doubts = append(o.doubts, golden.Doubt{
			About: "the default entry", Why: b.id + " has no tries left, and it is started all the same",
			Settle: SettleEntry,
		})
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
	o.decide("kernel and command line", "%s", cmp.Or(map[bool]string{true: b.volume.place(b.kernel)}[b.source == SourceUKI],
		b.volume.place(path.Join(b.base, "loader/entries", b.id))))
	o.entry = e
}

// printableLine is what the stub makes of a command line: control characters
// become blanks.
func printableLine(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(p)))
}
