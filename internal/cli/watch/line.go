package watch

import (
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
)

// widestName is how many cells of a line a machine's name gets at most.
const widestName = 24

// stateColumn has room for the longer states: "booting local disk".
const stateColumn = 18

// line shows one machine in width terminal cells: name, state, bar, percent,
// rate and time left of the phase, or what is to say in their place. What
// finds no room is left out from the right.
func (w *watched) line(width, nameWidth int, p term.Palette) string {
	nameWidth = min(nameWidth, widestName, max(width/3, term.Narrowest))
	head := term.Column(phrase.Name(&w.Machine), nameWidth) + "  "
	state := phrase.State(&w.Machine)
	flashing := (w.State == api.MachineFlashing || w.Live) && w.Progress != nil && w.Progress.Total > 0 && !w.gone
	troubled := phrase.InTrouble(&w.Machine) && w.Stuck.IsZero() && w.Conflict == "" && !w.gone
	if troubled && !w.Live {
		state = "in trouble"
	}
	if flashing && !w.Live && w.Stuck.IsZero() && w.Conflict == "" && !troubled {
		state = term.Printable(w.Progress.Phase)
	}
	if w.gone {
		state = "forgotten"
	}
	head += p.Paint(phrase.StateStyle(&w.Machine), term.Column(state, stateColumn))
	board := width - nameWidth - 2 - stateColumn - 2
	if board < term.Narrowest {
		return runewidth.Truncate(term.Column(phrase.Name(&w.Machine), nameWidth)+"  "+state, width, "…")
	}
	if flashing && !troubled {
		return head + "  " + w.barText(board)
	}
	return strings.TrimRight(head+"  "+runewidth.Truncate(phrase.Last(&w.Machine), board, "…"), " ")
}

// barText is the bar of a flash with its figures, in exactly that many cells.
func (w *watched) barText(width int) string {
	figures := runewidth.FillLeft(strconv.Itoa(phrase.Percent(w.Progress))+"%", 5)
	if width >= 40 {
		figures += runewidth.FillLeft(term.Rate(max(w.Progress.Rate, 0)), 13)
		left := "-"
		if d, ok := timeLeft(&w.Machine); ok {
			left = term.Clock(d)
		}
		figures += runewidth.FillLeft(left, 8)
	}
	if n := w.Progress.Unanswered; n > 0 {
		figures = " disk silent for " + strconv.Itoa(n) + " s"
	}
	if w.Conflict != "" && width >= 40 {
		return runewidth.Truncate(term.Printable(w.Conflict), width, "…")
	}
	cells := width - len(figures) - 2
	if cells < 4 {
		return runewidth.Truncate(strings.TrimSpace(figures), width, "…")
	}
	full := cells * phrase.Percent(w.Progress) / 100
	return "[" + strings.Repeat("=", full) + strings.Repeat("-", cells-full) + "]" + figures
}
