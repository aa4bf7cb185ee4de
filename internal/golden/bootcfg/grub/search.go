package grub

import (
	"cmp"
	"strings"
)

// search looks for a device by a file on it, its label or its UUID
// (commands/search.c): the hints first, then all.
func search(r *runner, c *call) int {
	var s searching
	s.parse(r, c.args)
	return s.run(r, c.line)
}

// searchBy is search.fs_uuid and its like: KEY VARIABLE HINTS.
func searchBy(kind string) func(*runner, *call) int {
	return func(r *runner, c *call) int {
		if len(c.args) == 0 {
			return errArgument
		}
		s := searching{kind: kind, key: c.args[0]}
		if len(c.args) > 1 {
			s.set, s.hints = c.args[1], c.args[2:]
		}
		return s.run(r, c.line)
	}
}

type searching struct {
	kind, key string
	set       string // variable that takes the result
	hints     []string
	more      bool // several keys
}

var shortSearch = map[string]string{"-f": "--file", "-l": "--label", "-u": "--fs-uuid", "-s": "--set", "-n": "--no-floppy", "-h": "--hint"}

func (s *searching) parse(r *runner, args []string) {
	platform := map[string]string{"pc": "--hint-bios", "efi": "--hint-efi"}[r.m.Platform]
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(args[i], "=")
		name = cmp.Or(shortSearch[name], name)
		if !strings.HasPrefix(name, "-") {
			s.more, s.key = s.key != "", args[i]
			continue
		}
		argument := func() string {
			if !has && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
				value = args[i]
			}
			return value
		}
		switch {
		case name == "--set":
			s.set = cmp.Or(argument(), "root")
		case name == "--file" || name == "--label" || name == "--fs-uuid":
			s.kind = name
		case name == "--hint" || name == platform:
			s.hints = append(s.hints, argument())
		case strings.HasPrefix(name, "--hint-"):
			argument()
		}
	}
}

func (s *searching) run(r *runner, line int) int {
	switch {
	case s.key == "" || s.more:
		return errArgument
	case s.kind == "":
		return errNoSearch
	case isUnknown(s.key):
		r.vars[cmp.Or(s.set, "_")] = unknown + "search" + unknown
		return 0
	}
	for _, d := range s.order(r) {
		if s.matches(r, d, line) {
			if s.set != "" {
				r.assign(s.set, d.Name())
			}
			return 0
		}
	}
	return errNotFound
}

// order puts the hinted devices first. A hint that ends in a comma means the
// partitions of a disk.
func (s *searching) order(r *runner) []*Device {
	var order []*Device
	for _, hint := range s.hints {
		disk, all := strings.CutSuffix(strings.TrimSpace(hint), ",")
		if d, _ := r.device(disk); d != nil && !all {
			order = append(order, d)
		}
	}
	for i := range r.m.Devices {
		order = append(order, &r.m.Devices[i])
	}
	return order
}

func (s *searching) matches(r *runner, d *Device, line int) bool {
	switch s.kind {
	case "--fs-uuid":
		return strings.EqualFold(s.key, d.UUID)
	case "--label":
		return d.Label != "" && s.key == d.Label
	}
	info, exists, known := r.stat(File{d, s.key}, true)
	if !known {
		return r.ask(line, "whether "+d.Name()+" ("+d.Kind+") holds "+s.key, 2) == 1
	}
	return exists && !info.IsDir()
}

// probe tells of a device what it is: probe --set=V
// --fs-uuid|--fs|--label|--partmap DEVICE.
func probe(r *runner, c *call) int {
	kind, set, name := "", "", ""
	for i := 0; i < len(c.args); i++ {
		key, value, has := strings.Cut(c.args[i], "=")
		switch {
		case key == "--set" || key == "-s":
			if !has && i+1 < len(c.args) {
				i++
				value = c.args[i]
			}
			set = value
		case strings.HasPrefix(key, "-"):
			kind = cmp.Or(map[string]string{"-u": "--fs-uuid", "-f": "--fs", "-l": "--label", "-p": "--partmap"}[key], key)
		default:
			name = c.args[i]
		}
	}
	d, known := r.device(name)
	if d == nil || d.FS == nil && kind == "--fs" && d.Kind != "" {
		if known {
			return errArgument
		}
		r.vars[cmp.Or(set, "_")] = unknown + "probe" + unknown
		return 0
	}
	value, ok := map[string]string{"--fs-uuid": d.UUID, "--label": d.Label, "--partmap": d.Scheme, "--fs": filesystem(d.Kind)}[kind]
	if !ok {
		value = unknown + "probe " + kind + unknown
	}
	if set != "" {
		r.vars[set] = value
	}
	return 0
}

// filesystem is GRUB's name of a file system.
func filesystem(kind string) string {
	switch kind {
	case "ext3", "ext4":
		return "ext2"
	case "vfat":
		return "fat"
	}
	return kind
}
