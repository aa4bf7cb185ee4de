// Package guide types what a document says.
package guide

import (
	"regexp"
	"strings"
)

// A block of a document that begins with the words "console run" is carried
// out: what stands behind "$ " is typed, and what follows must come back.
const marked = "```console run"

// step is one command of a document, and what comes back.
type step struct {
	command string
	want    []string // lines
}

// steps are those of the blocks of a page that are marked.
func steps(page string) (all []step) {
	inside := false
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch command, typed := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == marked
		case !inside:
		case typed:
			all = append(all, step{command: command})
		case len(all) > 0:
			last := &all[len(all)-1]
			last.want = append(last.want, line)
		}
	}
	return all
}

// like reports whether lines are as they should be, but for what differs from
// one run to the next. A line "..." stands for any number of lines, and a word
// that ends so for any word that begins like it.
func like(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == "..." {
		for i := range len(got) + 1 {
			if like(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && likeLine(want[0], got[0]) && like(want[1:], got[1:])
}

func likeLine(want, got string) bool {
	a, b := strings.Fields(varying(want)), strings.Fields(varying(got))
	for i, word := range a {
		switch begin, cut := strings.CutSuffix(word, "..."); {
		case cut && i == len(a)-1 && begin == "":
			return true
		case i >= len(b), !cut && word != b[i], cut && !strings.HasPrefix(b[i], begin):
			return false
		}
	}
	return len(a) == len(b)
}

// What differs from one run to the next, in this order.
var variants = []struct {
	form *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`gild-[A-Za-z0-9_-]{6,}`), "TOKEN"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "DIGEST"},
	{regexp.MustCompile(`\b\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?( [A-Z]+|Z)?`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|m?s|min|h|d)\b( ago)?`), "WHILE"},
	{regexp.MustCompile(`\bjust now\b`), "WHILE"},
	{regexp.MustCompile(`\b\d+(\.\d+)? (B|[kMGT]i?B)\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+(\.\d+)? s\b`), "WHILE"},
	{regexp.MustCompile(`\b\d+\.\d+\.\d+-\d+-amd64\b`), "KERNEL"},
	{regexp.MustCompile(`\b\d+ modules\b`), "MODULES"},
	{regexp.MustCompile(`\b\d+ more are built in\b`), "BUILTIN"},
}

func varying(line string) string {
	for _, v := range variants {
		line = v.form.ReplaceAllString(line, v.by)
	}
	return line
}
