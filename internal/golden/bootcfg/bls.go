package bootcfg

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// blsEntry is an entry with what only ordering needs.
type blsEntry struct {
	Entry
	sortKey, machineID, version string
	spent                       bool // boot counting: no tries are left
}

// parseBLS reads a type 1 entry of the Boot Loader Specification. Variables, as Fedora writes $kernelopts, are expanded
// from vars. An entry without a Linux kernel, such as one for an EFI program, has an empty Kernel.
func parseBLS(name, src string, vars map[string]string) (blsEntry, error) {
	var e blsEntry
	e.Source = SourceBLS
	e.ID, e.spent = blsID(name)
	var options []string
	size := 0
	for line := range strings.Lines(src) {
		key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.Title = value
		case "version":
			e.version = value
		case "machine-id":
			e.machineID = value
		case "sort-key":
			e.sortKey = value
		case "linux", "initrd", "options":
			value = expand(value, vars)
			if size += len(value); size > 2*maxExpanded {
				return e, errTooMuchExpansion
			}
		}
		switch key {
		case "linux":
			e.Kernel = value
		case "initrd":
			e.Initrds = append(e.Initrds, strings.Fields(value)...)
		case "options":
			options = append(options, value)
		}
	}
	e.Cmdline = strings.Join(options, " ")
	return e, nil
}

// expand replaces $name by its value, or by nothing. Twice, since kernelopts may itself hold a variable.
// Without vars, as under systemd-boot, a dollar sign stands for itself.
func expand(s string, vars map[string]string) string {
	if vars == nil {
		return s
	}
	for range 2 {
		var b strings.Builder
		scan := grubScanner{src: s, vars: vars}
		for scan.src != "" && b.Len() <= maxExpanded {
			if scan.src[0] == '$' {
				value, _ := scan.variable()
				b.WriteString(value)
				continue
			}
			b.WriteByte(scan.src[0])
			scan.src = scan.src[1:]
		}
		s = b.String()
	}
	return s
}

// blsID takes the suffixes off a file name: .conf, and the counter +LEFT or +LEFT-DONE of boot counting.
func blsID(name string) (id string, spent bool) {
	id = strings.TrimSuffix(path.Base(name), ".conf")
	i := strings.LastIndexByte(id, '+')
	if i < 0 {
		return id, false
	}
	left, done, _ := strings.Cut(id[i+1:], "-")
	n, err := strconv.ParseUint(left, 10, 32)
	if _, bad := strconv.ParseUint(cmp.Or(done, "0"), 10, 32); err != nil || bad != nil {
		return id, false
	}
	return id[:i], n == 0
}

// blsEntries reads a directory of entries, in the order of the menu.
func (f *finder) blsEntries(dir string, vars map[string]string) []Entry {
	list, err := fs.ReadDir(f.fsys, dir)
	if err != nil {
		return nil
	}
	var found []blsEntry
	for _, d := range list {
		if !strings.HasSuffix(d.Name(), ".conf") || len(found) >= maxEntries {
			continue
		}
		name := path.Join(dir, d.Name())
		data, ok := f.read(name)
		if !ok {
			continue
		}
		e, err := parseBLS(name, string(data), vars)
		if err != nil {
			f.problem(fmt.Errorf("%s: %w", name, err))
			continue
		}
		if e.Kernel != "" {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, compareBLS)
	entries := make([]Entry, len(found))
	for i := range found {
		entries[i] = found[i].Entry
	}
	return entries
}

// compareBLS is the order of the specification, section "Sorting": newest first.
func compareBLS(a, b blsEntry) int {
	if a.spent != b.spent {
		if a.spent {
			return 1
		}
		return -1
	}
	if (a.sortKey == "") != (b.sortKey == "") {
		if a.sortKey == "" {
			return 1
		}
		return -1
	}
	if a.sortKey != "" {
		if c := cmp.Or(strings.Compare(a.sortKey, b.sortKey), strings.Compare(a.machineID, b.machineID),
			compareVersions(b.version, a.version)); c != 0 {
			return c
		}
	}
	return compareVersions(b.ID, a.ID)
}

// compareVersions compares runs of digits as numbers, and a tilde before everything, as rpm, dpkg and systemd agree.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		aText, aRest := cutVersion(a, false)
		bText, bRest := cutVersion(b, false)
		if c := compareText(aText, bText); c != 0 {
			return c
		}
		aNum, aNext := cutVersion(aRest, true)
		bNum, bNext := cutVersion(bRest, true)
		aNum, bNum = strings.TrimLeft(aNum, "0"), strings.TrimLeft(bNum, "0")
		if c := cmp.Or(cmp.Compare(len(aNum), len(bNum)), strings.Compare(aNum, bNum)); c != 0 {
			return c
		}
		a, b = aNext, bNext
	}
	return 0
}

// compareText compares what stands between numbers; the end of a string is before any character but the tilde.
func compareText(a, b string) int {
	weight := func(s string, i int) int {
		switch {
		case i >= len(s):
			return 0
		case s[i] == '~':
			return -1
		}
		return int(s[i])
	}
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// cutVersion takes the leading run of digits, or of anything else.
func cutVersion(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) == digits {
		i++
	}
	return s[:i], s[i:]
}
