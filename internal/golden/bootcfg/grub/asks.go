package grub

import (
	"io/fs"
	"path"
	"strings"
)

// unknownCode is a command that asks the machine; first is the code as if
// nobody had touched it.
func unknownCode(first int) func(*runner, *call) int {
	return func(r *runner, c *call) int {
		return first ^ r.ask(c.line, "what "+c.name+" says", 2)
	}
}

// unknownValue is a command that puts into a variable what it finds on the
// machine: the one behind --set, or the last argument.
func unknownValue(r *runner, c *call) int {
	name := ""
	for i, a := range c.args {
		switch {
		case a == "--set" && i+1 < len(c.args):
			name = c.args[i+1]
		case strings.HasPrefix(a, "--set="):
			name = strings.TrimPrefix(a, "--set=")
		case c.name == "read" && !strings.HasPrefix(a, "-"):
			name = a
		}
	}
	if name != "" {
		r.vars[name] = unknown + c.name + unknown
	}
	return 0
}

// insmod always succeeds. datehook makes variables of the clock
// (hook/datehook.c).
func insmod(r *runner, c *call) int {
	if len(c.args) > 0 && path.Base(strings.TrimSuffix(c.args[0], ".mod")) == "datehook" {
		for _, name := range strings.Fields("YEAR MONTH DAY HOUR MINUTE SECOND WEEKDAY") {
			r.vars[name] = unknown + "the clock" + unknown
		}
	}
	return 0
}

// readable is a command that succeeds where its files can be read.
func readable(r *runner, c *call) int {
	for _, a := range c.args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		f, known := r.file(a)
		exists := false
		if known {
			var info fs.FileInfo
			if info, exists, known = r.stat(f, true); known && exists {
				exists = info.Mode().IsRegular()
			}
		}
		switch {
		case !known:
			return r.ask(c.line, "whether "+c.name+" can read "+strings.ReplaceAll(a, unknown, "?"), 2) * errNoFile
		case !exists:
			return errNoFile
		}
	}
	return 0
}

// hashsum holds files to a list, or prints sums.
func hashsum(r *runner, c *call) int {
	for _, a := range c.args {
		if a == "--check" || a == "-c" || strings.HasPrefix(a, "--check=") {
			return r.ask(c.line, "whether "+c.name+" finds every sum right", 2)
		}
	}
	files := call{name: c.name, line: c.line}
	for i := 0; i < len(c.args); i++ {
		switch c.args[i] {
		case "--hash", "-h", "--prefix", "-p":
			i++
		default:
			files.args = append(files.args, c.args[i])
		}
	}
	return readable(r, &files)
}

func sleep(r *runner, c *call) int {
	for _, a := range c.args {
		if a == "--interruptible" || a == "-i" {
			return r.ask(c.line, "whether a key is pressed", 2)
		}
	}
	return 0
}

// cpuid -l asks for long mode, which every machine has that is served an image
// of this kind.
func cpuid(r *runner, c *call) int {
	for _, a := range c.args {
		if a == "-l" || a == "--long-mode" {
			if r.m.CPU == "arm64" {
				return errCode
			}
			return 0
		}
	}
	return r.ask(c.line, "what cpuid says", 2)
}
