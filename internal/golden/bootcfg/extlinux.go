package bootcfg

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
)

// syslinux finds what the loaders of that family would start, and U-Boot where
// it reads their files.
type syslinux struct{ *finder }

// extlinux are the configurations of extlinux and syslinux, which U-Boot reads
// as well, by rules of its own: where it is not known which of them it is, both
// have to start the same.
func (f syslinux) extlinux() []candidate {
	for _, v := range f.linuxVolumes() {
		for _, file := range []string{
			"boot/extlinux/extlinux.conf", "boot/extlinux.conf", "extlinux/extlinux.conf", "extlinux.conf",
			"boot/syslinux/extlinux.conf", "boot/syslinux/syslinux.cfg", "boot/syslinux.cfg", "syslinux/syslinux.cfg", "syslinux.cfg",
		} {
			text, ok := f.read(v, file)
			if !ok {
				continue
			}
			c := extlinuxConf{volume: v, file: file}
			c.parse(text, 0)
			if len(c.labels) == 0 {
				continue
			}
			return []candidate{func() outcome { return f.startExtlinux(&c) }}
		}
	}
	return nil
}

// linuxVolumes are the volumes that can be read: a separate /boot, the root,
// then all others.
func (f *finder) linuxVolumes() []*Volume {
	var first, root, rest []*Volume
	for i := range f.disk.Volumes {
		switch v := &f.disk.Volumes[i]; {
		case v.FS == nil, v.foreign():
		case v.Mount == "boot":
			first = append(first, v)
		case v.Mount == ".":
			root = append(root, v)
		default:
			rest = append(rest, v)
		}
	}
	return append(append(first, root...), rest...)
}

// extlinuxConf is a configuration with the files that it includes.
type extlinuxConf struct {
	volume *Volume
	file   string
	labels []extlinuxLabel

	fallback  string // DEFAULT
	ontimeout string
	last      string // of the two, as U-Boot takes it
	ui        bool   // a menu
	marked    int    // 1 + index of the label with MENU DEFAULT
	append    string // of all labels without their own
	missing   []string
}

type extlinuxLabel struct {
	name, title, kernel, append string
	initrds                     []string
	own                         bool // APPEND stands in it
	local                       bool
}

// Bounds on what configurations may include.
const maxIncludes = 16

// parse reads lines; keywords have no case.
func (c *extlinuxConf) parse(text string, depth int) {
	for line := range strings.Lines(text) {
		key, value := cutKeyword(line)
		if key == "menu" {
			sub, rest := cutKeyword(value)
			key, value = "menu "+sub, rest
		}
		switch key {
		case "include", "menu include":
			name, _, _ := strings.Cut(value, " ")
			c.include(name, depth+1)
		case "label":
			if len(c.labels) < maxEntries {
				c.labels = append(c.labels, extlinuxLabel{name: value, title: value})
			}
		case "default":
			c.fallback, c.last = value, value
		case "ontimeout":
			c.ontimeout, c.last = value, value
		case "ui":
			c.ui = true
		default:
			c.within(key, value)
		}
	}
}

func (c *extlinuxConf) include(name string, depth int) {
	file := onVolume(name)
	if !strings.HasPrefix(name, "/") {
		file = path.Join(path.Dir(c.file), name)
	}
	data := []byte(nil)
	err := error(fs.ErrInvalid)
	if depth <= maxIncludes && fs.ValidPath(file) {
		data, err = readFile(c.volume.FS, file)
	}
	if err != nil {
		if len(c.missing) < 4 {
			c.missing = append(c.missing, c.volume.place(file))
		}
		return
	}
	c.parse(string(data), depth)
}

// within takes a line below a label, or a global APPEND.
func (c *extlinuxConf) within(key, value string) {
	if len(c.labels) == 0 {
		if key == "append" {
			c.append = value
		}
		return
	}
	l := &c.labels[len(c.labels)-1]
	switch key {
	case "linux", "kernel", "com32", "config":
		l.kernel, _, _ = strings.Cut(value, "#") // behind it, the configuration of a FIT
		l.local = l.local || key == "com32" || key == "config"
	case "initrd":
		l.initrds = append(l.initrds, value)
	case "append":
		l.append, l.own = value, true
	case "localboot":
		l.local = true
	case "menu label":
		l.title = strings.ReplaceAll(value, "^", "") // marks the hot key
	case "menu default":
		c.marked = len(c.labels)
	}
}

// menu reports whether a program of syslinux's shows the labels.
func (c *extlinuxConf) menu() bool {
	program, _, _ := strings.Cut(c.fallback, " ")
	return c.ui || strings.HasSuffix(program, ".c32")
}

// startExtlinux compares what the two would start.
func (f syslinux) startExtlinux(c *extlinuxConf) outcome {
	o := f.extlinuxAs(c, false)
	if other := f.extlinuxAs(c, true); !c.menu() && !f.bootsSyslinux() && !o.same(&other) {
		o.doubts = append(o.doubts, golden.Doubt{
			About: "the default entry", Settle: SettleEntry, Alternatives: []string{other.text() + ", as U-Boot reads it"},
			Why: "syslinux and U-Boot read " + c.volume.place(c.file) + " in different ways, and syslinux's is taken",
		})
	}
	for _, name := range c.missing {
		o.doubts = append(o.doubts, golden.Doubt{
			About: "the default entry",
			Why:   name + ", which " + c.volume.place(c.file) + " includes, cannot be read", Settle: SettleEntry,
		})
	}
	return o
}

func (f syslinux) extlinuxAs(c *extlinuxConf, uboot bool) outcome {
	o := outcome{loader: "extlinux"}
	o.decide("boot loader", "extlinux, by %s", c.volume.place(c.file))
	var names []string
	for _, l := range c.labels {
		if len(names) < 8 {
			names = append(names, l.name)
		}
	}
	l, by := c.start(f.want, uboot)
	if l == nil {
		o.nothing(by, names...)
		return o
	}
	if l.local || l.kernel == "" || strings.HasSuffix(l.kernel, ".c32") {
		o.nothing(fmt.Sprintf("the label %q, which is no Linux", l.name), names...)
		return o
	}
	e := &Entry{Title: l.title, ID: l.name, Source: SourceExtlinux, volume: c.volume, Cmdline: l.append}
	if !l.own && !uboot {
		e.Cmdline = c.append
	}
	if rest, ok := strings.CutPrefix(e.Cmdline, "-"); ok && (rest == "" || rest[0] == ' ') {
		e.Cmdline = rest
	}
	if e.file = c.resolve(l.kernel); e.file == "" {
		o.nothing(fmt.Sprintf("the label %q, whose kernel %s is not there", l.name, l.kernel), names...)
		return o
	}
	for _, name := range l.initrdFiles(e.Cmdline, uboot) {
		file := c.resolve(name)
		if file == "" {
			o.nothing(fmt.Sprintf("the label %q, whose initrd %s is not there", l.name, name), names...)
			return o
		}
		e.loose = append(e.loose, file)
	}
	if err := f.complete(e); err != nil {
		o.nothing(fmt.Sprintf("the label %q, which no kernel takes: %v", l.name, err), names...)
		return o
	}
	o.decide("default entry", "%s", by)
	o.decide("kernel and command line", "the label %s of %s", l.name, c.volume.place(c.file))
	o.entry = e
	return o
}

// start is the label that is started when nobody chooses; by tells why, or why
// there is none.
func (c *extlinuxConf) start(want string, uboot bool) (l *extlinuxLabel, by string) {
	file := c.volume.place(c.file)
	find := func(name string) *extlinuxLabel {
		for i := range c.labels {
			if c.labels[i].name == name {
				return &c.labels[i]
			}
		}
		return nil
	}
	if want != "" {
		return find(want), SettleEntry + ", which names no label"
	}
	name := c.ontimeout
	switch {
	case uboot:
		name = c.last
		if name == "" && c.marked > 0 {
			return &c.labels[c.marked-1], file + ": menu default"
		}
		if find(name) == nil {
			return &c.labels[0], file + ": the first label"
		}
	case name == "" && c.menu() && c.marked > 0:
		return &c.labels[c.marked-1], file + ": menu default"
	case name == "":
		if name = c.fallback; c.menu() && find(name) == nil {
			return &c.labels[0], file + ": the first label"
		}
	}
	if l := find(name); l != nil {
		return l, file + ": default " + name
	}
	if name == "" {
		return &c.labels[0], file + ": the first label"
	}
	return nil, fmt.Sprintf("%q, which is no label of %s", name, file)
}

// initrdFiles are those of a label: U-Boot takes one, syslinux a list with
// commas.
func (l *extlinuxLabel) initrdFiles(cmdline string, uboot bool) []string {
	list := l.initrds
	if uboot && len(list) > 0 {
		return list[:1]
	}
	if len(list) == 0 {
		for _, w := range strings.Fields(cmdline) {
			if names, ok := strings.CutPrefix(w, "initrd="); ok {
				list = []string{names} // the last counts
			}
		}
	} else {
		list = list[len(list)-1:]
	}
	if uboot || len(list) == 0 {
		return list
	}
	return strings.FieldsFunc(list[0], func(r rune) bool { return r == ',' || r == ' ' })
}

// resolve finds a file, beside the configuration unless its path is absolute;
// empty when it is not there. A system that was not installed on a partition of
// its own names it as its running kernel sees it, or as the loader does.
func (c *extlinuxConf) resolve(name string) string {
	candidates := []string{path.Join(path.Dir(c.file), name), onVolume(name)}
	if strings.HasPrefix(name, "/") {
		candidates = []string{onVolume(name)}
		if rest, ok := strings.CutPrefix(candidates[0], "boot/"); ok && c.volume.Mount == "boot" {
			candidates = append(candidates, rest)
		}
	}
	for _, p := range candidates {
		if c.volume.isFile(p) {
			return p
		}
	}
	return ""
}

// cutKeyword splits a line at the first white space.
func cutKeyword(line string) (key, value string) {
	line = strings.TrimSpace(line)
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return strings.ToLower(line[:i]), strings.TrimSpace(line[i:])
	}
	return strings.ToLower(line), ""
}
