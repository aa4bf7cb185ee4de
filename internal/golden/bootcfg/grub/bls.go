package grub

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// blsEntry is a file of the Boot Loader Specification as blscfg reads it, which
// differs from what the specification says.
type blsEntry struct {
	name string // without .conf
	file File
	keys []variable
}

// get is the first value of a key.
func (e *blsEntry) get(key string) (value string, ok bool) {
	for _, k := range e.keys {
		if k.name == key {
			return k.value, true
		}
	}
	return "", false
}

// blscfg adds the entries of a directory to the menu (Red Hat:
// commands/blscfg.c; upstream from 2.14 on: commands/blsuki.c).
func blscfg(r *runner, c *call) int {
	b := bls{r}
	dirs, only, ok := b.places(c)
	if !ok {
		return errArgument
	}
	var entries []*blsEntry
	for i, name := range dirs {
		f, known := r.file(name)
		if !known || f.Device != nil && f.Device.FS == nil && f.Device.Kind != "" {
			r.remark(c.line, "blscfg cannot read "+strings.ReplaceAll(name, unknown, "?"))
			return 0
		}
		list, readable := b.entries(f, only)
		entries = append(entries, list...)
		// RHEL 8 looks further where there is no entry, later ones where there is no
		// directory.
		if i == 0 && (len(list) > 0 || readable && r.m.Flavour != RedHat8) {
			break
		}
	}
	slices.SortStableFunc(entries, func(x, y *blsEntry) int { return b.compare(y, x) })
	if r.m.Flavour == RedHat9 || r.m.Flavour == RedHat10 {
		entries = slices.CompactFunc(entries, func(x, y *blsEntry) bool { return b.compare(x, y) == 0 })
	}
	for _, e := range entries {
		if it := b.item(e); it != nil && len(r.menu.items) < maxItems {
			r.menu.items = append(r.menu.items, it)
		}
	}
	return 0
}

// bls reads a directory of entries into the menu.
type bls struct{ *runner }

// places are the directories to look into, and the one entry that is asked for.
func (r bls) places(c *call) (dirs []string, only string, ok bool) {
	usual := cmp.Or(r.vars["blsdir"], "/loader/entries/")
	if r.m.Flavour == Upstream {
		dirs = []string{"/loader/entries/"}
		for i := 0; i < len(c.args); i++ {
			name, value, has := strings.Cut(c.args[i], "=")
			if !has && (name == "--path" || name == "-p" || name == "--entry" || name == "-e") && i+1 < len(c.args) {
				i++
				value = c.args[i]
			}
			switch name {
			case "--path", "-p":
				dirs[0] = value
			case "--enable-fallback", "-f":
				dirs = append(dirs, "/boot/loader/entries/")
			case "--entry", "-e":
				only = strings.TrimSuffix(value, ".conf")
			default:
				if !strings.HasPrefix(name, "-") {
					return nil, "", false
				}
			}
		}
		return dirs, only, true
	}
	dirs = []string{usual, "/boot/loader/entries/"}
	if len(c.args) > 0 && r.m.Flavour != RedHat8 {
		switch a := c.args[0]; {
		case a == "default" || a == "non-default":
			r.remark(c.line, "blscfg "+a+" takes a part of the entries only")
		case strings.HasPrefix(a, "(") || strings.HasPrefix(a, "/"):
			dirs = []string{a}
		default:
			only = strings.TrimSuffix(a, ".conf")
		}
	}
	return dirs, only, true
}

func (r bls) entries(dir File, only string) (list []*blsEntry, readable bool) {
	if dir.Device == nil || dir.Device.FS == nil {
		return nil, false
	}
	files, err := fs.ReadDir(dir.Device.FS, rel(dir.Path))
	if err != nil {
		return nil, false
	}
	for _, f := range files {
		name, isConf := strings.CutSuffix(f.Name(), ".conf")
		if !isConf || strings.HasPrefix(name, ".") || len(list) >= maxItems || only != "" && name != only || !r.step() {
			continue
		}
		e := &blsEntry{name: name, file: File{dir.Device, path.Join("/", dir.Path, f.Name())}}
		data, exists, _ := r.read(e.file)
		if !exists {
			continue
		}
		e.keys = r.keys(data)
		list = append(list, e)
	}
	return list, true
}

// keys reads the lines of an entry, to the first that is empty or has no value.
func (r bls) keys(data string) []variable {
	separators := " "
	if r.m.Flavour == Upstream {
		separators = " \t"
	}
	var keys []variable
	for line := range strings.Lines(strings.ReplaceAll(data, "\r", "")) {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), " \t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.IndexAny(line, separators)
		if i < 0 {
			break
		}
		value := strings.TrimLeft(line[i:], " \t")
		if value == "" {
			break
		}
		keys = append(keys, variable{line[:i], value})
	}
	return keys
}

func (r bls) compare(a, b *blsEntry) int {
	switch r.m.Flavour {
	case Upstream:
		return vercmp.FileName(a.name+".conf", b.name+".conf")
	case RedHat8:
		av, aHas := a.get("version")
		bv, bHas := b.get("version")
		if aHas && bHas {
			return cmp.Or(vercmp.BLSVersion(av, bv), vercmp.BLSName(a.name, b.name, false))
		}
		return vercmp.BLSName(a.name, b.name, false)
	}
	return vercmp.BLSName(a.name, b.name, true)
}

// item makes an entry whose body is the script that blscfg writes. Red Hat
// expands variables in the options by a rule of its own, and what comes of that
// is then read as script.
func (r bls) item(e *blsEntry) *item {
	kernel, ok := e.get("linux")
	it := &item{id: e.name, bls: true}
	it.title, _ = e.get("title")
	it.title = cmp.Or(it.title, kernel)
	if !ok {
		efi, isEFI := e.get("efi")
		if !isEFI || r.m.Flavour != RedHat10 {
			return nil
		}
		it.title = cmp.Or(it.title, efi)
		it.body = e.script("chainloader ($root)" + efi)
		return it
	}
	options, ok := e.get("options")
	if !ok && r.m.Flavour != Upstream {
		options = r.vars["default_kernelopts"]
	}
	var initrds []string
	for _, k := range e.keys {
		if k.name == "initrd" {
			initrds = append(initrds, "($root)"+k.value)
		}
	}
	if early := r.vars["early_initrd"]; early != "" && r.m.Flavour >= RedHat9 {
		dir := kernel
		if i := slices.IndexFunc(e.keys, func(k variable) bool { return k.name == "initrd" }); i >= 0 {
			dir = e.keys[i].value
		}
		var before []string
		for _, name := range strings.Fields(early) {
			before = append(before, "($root)"+path.Join(path.Dir(dir), name))
		}
		initrds = append(before, initrds...)
	}
	lines := []string{strings.TrimRight("linux ($root)"+kernel+" "+r.expandOptions(options), " ")}
	if len(initrds) > 0 {
		lines = append(lines, "initrd "+strings.Join(initrds, " "))
	}
	it.body = e.script(lines...)
	return it
}

func (e *blsEntry) script(lines ...string) *script.Script {
	s := &script.Script{Name: e.file.String()}
	for _, l := range lines {
		s.Lines = append(s.Lines, script.Line{Text: l, Number: 1})
	}
	return s
}

// expandOptions puts in variables as blscfg does: a value is followed by a
// blank, a name that is not set vanishes with the blank behind it, and a single
// character at the end, or before a variable, is lost (expand_val).
func (r bls) expandOptions(s string) string {
	var b strings.Builder
	start, end, variable := 0, 0, false
	add := func() {
		field := s[start:max(start, min(end+1, len(s)))]
		if variable {
			v, ok := r.vars[field]
			if !ok {
				return
			}
			field = v + " "
		}
		b.WriteString(field)
	}
	for i := 0; i < len(s) && !r.spend(1); i++ {
		switch {
		case s[i] == '$' && (i == 0 || s[i-1] != '\\' || r.m.Flavour < RedHat9):
			if start != end {
				add()
			}
			variable, start = true, i+1
		case variable && !script.NameByte(s[i]):
			add()
			variable, start = false, i
			if s[i] == ' ' {
				start++
			}
		}
		end = i
	}
	if start != end {
		add()
	}
	return b.String()
}
