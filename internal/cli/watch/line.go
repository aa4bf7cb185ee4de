package watch

import (
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/units"
)

// widestName is how many cells of a line a machine's name gets at most.
const widestName = 24

// stateColumn has room for the longer states: "booting local disk".
const stateColumn = 18

// line shows one machine in width terminal cells: name, state, bar, percent,
// rate and time left to the new system, or what is to say in their place. What
// finds no room is left out from the right.
func (w *watched) line(width, nameWidth int, p term.Palette) string {
	nameWidth = min(nameWidth, widestName, max(width/3, term.Narrowest))
	head := term.Fit(phrase.Name(&w.Machine), nameWidth) + "  "
	state := phrase.State(&w.Machine)
	flashing := (w.State == api.MachineFlashing || w.Live) && w.Estimate != nil && w.Estimate.DataTotal > 0 && !w.gone
	troubled := phrase.InTrouble(&w.Machine) && w.Stuck.IsZero() && w.Conflict == "" && !w.gone
	if troubled && !w.Live {
		state = "in trouble"
	}
	if flashing && !w.Live && w.Stuck.IsZero() && w.Conflict == "" && !troubled {
		state = term.Printable(w.Estimate.Phase)
	}
	if w.gone {
		state = "forgotten"
	}
	head += p.Paint(phrase.StateStyle(&w.Machine), term.Fit(state, stateColumn))
	board := width - nameWidth - 2 - stateColumn - 2
	if board < term.Narrowest {
		return runewidth.Truncate(term.Fit(phrase.Name(&w.Machine), nameWidth)+"  "+state, width, "…")
	}
	if flashing && !troubled {
		return head + "  " + w.barText(board)
	}
	return strings.TrimRight(head+"  "+runewidth.Truncate(phrase.Last(&w.Machine), board, "…"), " ")
}

// barText is the bar of a flash with its figures, in exactly that many cells.
func (w *watched) barText(width int) string {
	e := w.Estimate
	figures := runewidth.FillLeft(strconv.Itoa(e.Percent)+"%", 5)
	if width >= 40 {
		rate := "-"
		if e.Rate >= 1 {
			rate = units.Rate(e.Rate)
		}
		figures += runewidth.FillLeft(rate, 12)
		left := e.LeftText()
		if width >= 60 {
			left = e.Outlook()
			figures += runewidth.FillLeft(e.Amount(), 18)
		}
		figures += "  " + runewidth.FillLeft(left, 8)
	}
	if p := w.Progress; p != nil && p.Unanswered > 0 {
		figures = " disk silent for " + strconv.Itoa(p.Unanswered) + " s"
	}
	if w.Conflict != "" && width >= 40 {
		return runewidth.Truncate(term.Printable(w.Conflict), width, "…")
	}
	cells := width - len(figures) - 2
	if cells < 4 {
		return runewidth.Truncate(strings.TrimSpace(figures), width, "…")
	}
	full := cells * e.Percent / 100
	return "[" + strings.Repeat("=", full) + strings.Repeat("-", cells-full) + "]" + figures
}
