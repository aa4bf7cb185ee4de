package screen

import (
	"strings"

	"github.com/gild-dev/gild/internal/printable"
)

// lineBreaks become blanks: a text is one line.
var lineBreaks = strings.NewReplacer("\n", " ", "\t", " ")

// Clean makes foreign text fit for a terminal and a log: no control
// characters, nothing that changes the direction of writing, one line.
func Clean(s string) string {
	return printable.Mark(lineBreaks.Replace(s[:min(len(s), 4000)]))
}

// short makes a foreign text one that a line has room for.
func short(s string, limit int) string {
	s = strings.Join(strings.Fields(Clean(s)), " ")
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// indent is where the text of a line begins, behind "[   12.34] ".
const indent = 11

// wrap breaks a line at words so that no piece has more than width cells. The
// pieces behind the first are indented.
func wrap(s string, width, indent int) []string {
	var lines []string
	line := []rune(s)
	for len(line) > width {
		at := width
		for i := width; i > indent; i-- {
			if line[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(line[:at]), " "))
		rest := strings.TrimLeft(string(line[at:]), " ")
		line = []rune(strings.Repeat(" ", indent) + rest)
	}
	return append(lines, string(line))
}
