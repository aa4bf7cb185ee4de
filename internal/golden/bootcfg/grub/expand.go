package grub

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// unknown marks a value that the image does not tell. No string of GRUB's can
// hold the byte.
const unknown = "\x00"

func isUnknown(s string) bool { return strings.Contains(s, unknown) }

// argument is a word in the making.
type argument struct {
	text   strings.Builder
	quoted bool // it exists even if it is empty
	glob   bool // a bare * or ? or [ is in it
}

// expander makes arguments of words.
type expander struct{ *runner }

// expand makes the arguments of a command (script/execute.c,
// grub_script_arglist_to_argv). A bare value is split at the blanks within it,
// while those at its ends part nothing.
func (r expander) expand(words []script.Word) []string {
	var args []string
	for i := range words {
		args = r.expandWord(args, &words[i])
		if r.ended() {
			return nil
		}
	}
	return args
}

func (r expander) expandWord(args []string, w *script.Word) []string {
	a := &argument{}
	flush := func() {
		s := a.text.String()
		switch {
		case s == "" && !a.quoted:
		case a.glob:
			args = append(args, r.glob(s, w.Line)...)
		default:
			args = append(args, s)
		}
		a = &argument{}
	}
	for _, p := range w.Parts {
		switch {
		case !p.Variable:
			a.text.WriteString(p.Text)
			a.quoted = a.quoted || p.Quoted
			a.glob = a.glob || !p.Quoted && strings.ContainsAny(p.Text, "*?[")
		case p.Quoted && p.Text == "@":
			for i, v := range r.args {
				if i > 0 {
					flush()
				}
				a.text.WriteString(v)
				a.quoted = true
			}
		case p.Quoted:
			a.text.WriteString(r.value(p.Text))
			a.quoted = true
		default:
			for _, v := range r.bareValues(p.Text) {
				for i, f := range fields(v) {
					if i > 0 {
						flush()
					}
					a.text.WriteString(f)
				}
			}
		}
		if r.spend(a.text.Len()) {
			return nil
		}
	}
	flush()
	return args
}

// fields cuts a value at its blanks. What is not known stays whole.
func fields(s string) []string {
	if isUnknown(s) {
		return []string{s}
	}
	return strings.FieldsFunc(s, blank)
}

func blank(c rune) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// bareValues are the values of a variable outside quotes: $* and $@ have
// several.
func (r expander) bareValues(name string) []string {
	if name == "*" || name == "@" {
		return []string{strings.Join(r.args, " ")}
	}
	return []string{r.value(name)}
}

// value is that of a variable; empty when there is none.
func (r expander) value(name string) string {
	switch {
	case name == "?":
		return strconv.Itoa(r.code)
	case name == "*", name == "@":
		return strings.Join(r.args, " ")
	case name == "#":
		if !r.positional {
			return ""
		}
		return strconv.Itoa(len(r.args))
	case name[0] >= '0' && name[0] <= '9':
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || n > len(r.args) {
			return ""
		}
		return r.args[n-1]
	}
	return r.vars[name]
}

// glob expands a pattern of files (commands/wildcard.c). GRUB takes the matches
// as the directory has them, which is not known here: where there are several,
// both ends may come first.
func (r expander) glob(pattern string, number int) []string {
	if !strings.HasPrefix(pattern, "(") && !strings.HasPrefix(pattern, "/") || isUnknown(pattern) {
		return []string{pattern}
	}
	f, known := r.file(pattern)
	prefix := pattern[:len(pattern)-len(f.Path)]
	if f.Device == nil || f.Device.FS == nil || !known {
		return []string{pattern}
	}
	matches := []string{""}
	for _, element := range strings.Split(strings.Trim(f.Path, "/"), "/") {
		var next []string
		for _, dir := range matches {
			if !strings.ContainsAny(element, "*?[") {
				next = append(next, dir+"/"+element)
				continue
			}
			list, err := fs.ReadDir(f.Device.FS, rel(dir))
			for _, e := range list {
				if ok, _ := path.Match(element, e.Name()); ok && err == nil && len(next) < maxItems {
					next = append(next, dir+"/"+e.Name())
				}
			}
			if r.spend(len(list)) {
				return nil
			}
		}
		matches = next
	}
	var found []string
	for _, m := range matches {
		if _, ok, _ := r.stat(File{f.Device, m}, false); ok {
			found = append(found, prefix+m)
		}
	}
	if len(found) == 0 {
		return []string{pattern}
	}
	if len(found) > 1 && r.ask(number, "the order of the files "+pattern, 2) == 1 {
		slices.Reverse(found)
	}
	return found
}
