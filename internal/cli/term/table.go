package term

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Table is rows in columns under a header. Cells are printable text; the last
// column takes what room is left.
type Table struct {
	Header []string
	Rows   [][]string
	// Paint gives a cell's style; nil: all are plain.
	Paint func(row, col int) Style
	// Soft is a column that is cut before all others; 0 is none.
	Soft int
	// Wrap breaks the last column into lines where others are cut: for what
	// must be read to its end.
	Wrap bool
}

// columnGap is the number of blanks between two columns.
const columnGap = 2

// Narrowest is how far a column is cut, in terminal cells.
const Narrowest = 8

// Write prints the table. width is the terminal's, in cells; 0 is unlimited.
func (t Table) Write(w io.Writer, width int, p Palette) {
	widths := t.widths(width)
	t.line(w, widths, t.Header, func(int) Style { return Bold }, p)
	for i, row := range t.Rows {
		paint := func(col int) Style {
			if t.Paint == nil {
				return Plain
			}
			return t.Paint(i, col)
		}
		last := len(row) - 1
		if !t.Wrap {
			t.line(w, widths, row, paint, p)
			continue
		}
		for n, part := range wrapped(row[last], widths[last]) {
			cells := make([]string, len(row))
			if n == 0 {
				copy(cells, row)
			}
			cells[last] = part
			t.line(w, widths, cells, paint, p)
		}
	}
}

// widths gives each column what its cells need and, where that is more than
// the terminal has, takes from the last column first, then from the widest.
func (t Table) widths(width int) []int {
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, c := range row {
			for part := range strings.SplitSeq(c, "\n") {
				widths[i] = max(widths[i], runewidth.StringWidth(part))
			}
		}
	}
	if width <= 0 {
		return widths
	}
	excess := -width - columnGap
	for _, n := range widths {
		excess += n + columnGap
	}
	last := len(widths) - 1
	floor := Narrowest
	if t.Wrap { // a narrow column of many lines is hard to read
		floor = 4 * Narrowest
	}
	if cut := min(excess, widths[last]-floor); cut > 0 {
		widths[last] -= cut
		excess -= cut
	}
	if cut := min(excess, widths[t.Soft]-Narrowest); t.Soft > 0 && cut > 0 {
		widths[t.Soft] -= cut
		excess -= cut
	}
	for excess > 0 {
		i := slices.Index(widths[:last], slices.Max(widths[:last]))
		if widths[i] <= Narrowest {
			break
		}
		widths[i]--
		excess--
	}
	return widths
}

func (t Table) line(w io.Writer, widths []int, cells []string, paint func(col int) Style, p Palette) {
	var b strings.Builder
	for i, c := range cells {
		c = runewidth.Truncate(c, widths[i], "…")
		b.WriteString(p.Paint(paint(i), c))
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-runewidth.StringWidth(c)+columnGap))
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// wrapped breaks each line of a text at blanks, and words that are too long
// where they must be.
func wrapped(text string, width int) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		rest := strings.TrimRight(line, " ")
		for width > 0 && runewidth.StringWidth(rest) > width {
			head := runewidth.Truncate(rest, width, "")
			// A blank right behind the last word that fits is a place too.
			cut := strings.LastIndexByte(rest[:min(len(head)+1, len(rest))], ' ')
			if cut <= 2 { // the indentation of a line that continues
				cut = cmp.Or(len(head), len(rest))
			}
			out = append(out, strings.TrimRight(rest[:cut], " "))
			if cut == len(rest) { // not one character fits
				return out
			}
			rest = "  " + strings.TrimLeft(rest[cut:], " ")
			if width <= 2*2 {
				rest = strings.TrimLeft(rest, " ")
			}
		}
		out = append(out, rest)
	}
	return out
}
