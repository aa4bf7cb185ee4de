package grub

import (
	"fmt"
	"strings"
)

// linux loads a kernel, if the file is there.
func linux(r *runner, c *call) int {
	if len(c.args) == 0 {
		return errArgument
	}
	name := c.args[0]
	f, known := r.file(name)
	exists := false
	if known {
		_, exists, known = r.stat(f, true)
	}
	r.loaded = nil
	if known && !exists && !r.rooted && f.Device != nil && !strings.HasPrefix(name, "(") {
		f, exists = r.elsewhere(f, c.line)
	}
	switch {
	case !known:
		r.loaded = &loaded{other: fmt.Sprintf("the kernel %s, which cannot be read", strings.ReplaceAll(name, unknown, "?")), at: r.here(c.line)}
		return 0
	case !exists:
		r.failed = fmt.Sprintf("%s, named by %s, is not there", f, r.here(c.line))
		return errNoFile
	}
	r.loaded = &loaded{kernel: f, args: c.args[1:], at: r.here(c.line)}
	return 0
}

// elsewhere finds a kernel on another device, for a configuration that never
// says on which: GRUB itself would have been told by what its installer put
// into it.
func (r *runner) elsewhere(f File, line int) (File, bool) {
	var found []*Device
	for i := range r.m.Devices {
		d := &r.m.Devices[i]
		if _, exists, _ := r.stat(File{d, f.Path}, true); exists {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return f, false
	}
	r.vars["root"] = found[0].Name()
	r.remark(line, f.Path+" is not on "+"("+f.Device.Name()+")"+", which is $root, and is taken from ("+found[0].Name()+")")
	return File{found[0], f.Path}, true
}

// initrd adds files to the kernel: the last command counts, with all of its
// files in order.
func initrd(r *runner, c *call) int {
	if r.loaded == nil || r.loaded.other != "" {
		return errArgument
	}
	var files []File
	for _, name := range c.args {
		switch {
		case strings.HasPrefix(name, "--"):
			continue
		case strings.HasPrefix(name, "newc:"):
			r.remark(c.line, "a file is packed into the initrd as "+strings.TrimPrefix(name, "newc:"))
			continue
		}
		f, known := r.file(name)
		exists := false
		if known {
			_, exists, known = r.stat(f, true)
		}
		if !known || !exists {
			r.remark(c.line, fmt.Sprintf("the initrd %s is not there", strings.ReplaceAll(name, unknown, "?")))
			return errNoFile
		}
		files = append(files, f)
	}
	r.loaded.initrds = files
	return 0
}

// chainload is a command that loads something else.
func chainload(r *runner, c *call) int {
	line := strings.ReplaceAll(strings.Join(append([]string{c.name}, c.args...), " "), unknown, "?")
	if len(line) > 120 {
		line = line[:120] + "..."
	}
	r.loaded = &loaded{other: line, at: r.here(c.line)}
	return 0
}

// leave is a command after which GRUB is no more.
func leave(r *runner, c *call) int {
	o := Outcome{Instead: c.name, At: r.here(c.line)}
	if r.entry != nil {
		o.Title, o.ID = r.entry.title, r.entry.id
	}
	r.end(o)
	return 0
}
