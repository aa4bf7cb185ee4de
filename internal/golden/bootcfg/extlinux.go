package bootcfg

import (
	"path"
	"strings"
)

// extlinux reads the first configuration of extlinux or syslinux, which U-Boot reads as well.
func (f *finder) extlinux() {
	for _, file := range []string{
		"boot/extlinux/extlinux.conf", "boot/extlinux.conf", "extlinux/extlinux.conf",
		"boot/syslinux/syslinux.cfg", "boot/syslinux/extlinux.conf", "boot/syslinux.cfg", "boot/efi/syslinux.cfg",
	} {
		data, ok := f.read(file)
		if !ok {
			continue
		}
		entries := parseExtlinux(string(data))
		if len(f.entries) > 0 { // another boot loader's default stands
			for i := range entries {
				entries[i].Default = false
			}
		}
		before := len(f.entries)
		f.add(file, entries, path.Dir(file), "boot", "")
		if len(f.entries) > before {
			return
		}
	}
}

// parseExtlinux reads the labels of a configuration. Keywords have no case.
func parseExtlinux(src string) []Entry {
	var entries []Entry
	var chosen, appendAll string
	for line := range strings.Lines(src) {
		key, value := cutKeyword(line)
		if key == "menu" {
			sub, rest := cutKeyword(value)
			key, value = "menu "+sub, rest
		}
		if key == "label" && len(entries) < maxEntries {
			entries = append(entries, Entry{ID: value, Title: value, Cmdline: appendAll, Source: SourceExtlinux})
			continue
		}
		switch key {
		case "default", "ontimeout":
			chosen = value
			continue
		}
		if len(entries) == 0 {
			if key == "append" {
				appendAll = value
			}
			continue
		}
		extlinuxLine(&entries[len(entries)-1], key, value)
	}
	return extlinuxDefault(entries, chosen)
}

// extlinuxLine takes a line below a label.
func extlinuxLine(e *Entry, key, value string) {
	switch key {
	case "linux", "kernel":
		e.Kernel = value
	case "initrd":
		e.Initrds = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
	case "append":
		e.Cmdline = strings.TrimPrefix(value, "-") // a lone dash: without the global one
		for _, w := range strings.Fields(value) {
			if names, ok := strings.CutPrefix(w, "initrd="); ok && e.Initrds == nil {
				e.Initrds = strings.Split(names, ",")
			}
		}
	case "menu label":
		e.Title = strings.ReplaceAll(value, "^", "") // marks the hot key
	case "menu default":
		e.Default = true
	}
}

// extlinuxDefault drops labels that boot no Linux, and marks one of the others: what a menu marks, else what the
// default line names, else the first.
func extlinuxDefault(entries []Entry, chosen string) []Entry {
	var linux []Entry
	marked := false
	for _, e := range entries {
		if e.Kernel == "" || strings.HasSuffix(e.Kernel, ".c32") {
			continue
		}
		e.Default = e.Default && !marked
		marked = marked || e.Default
		linux = append(linux, e)
	}
	for i := range linux {
		if !marked && linux[i].ID == chosen {
			linux[i].Default, marked = true, true
		}
	}
	if !marked && len(linux) > 0 {
		linux[0].Default = true
	}
	return linux
}

// cutKeyword splits a line at the first white space.
func cutKeyword(line string) (key, value string) {
	line = strings.TrimSpace(line)
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return strings.ToLower(line[:i]), strings.TrimSpace(line[i:])
	}
	return strings.ToLower(line), ""
}
