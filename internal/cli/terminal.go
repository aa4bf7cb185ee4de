package cli

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/gild-dev/gild/internal/api"
)

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether both ends of the conversation are a person's.
func (a *app) interactive() bool { return isTerminal(a.Stdin) && isTerminal(a.Stderr) }

// terminalWidth gives the number of cells in a line of w; 0 when w is no
// terminal and lines have no end.
func terminalWidth(w io.Writer) int {
	width, _ := terminalSize(w)
	return width
}

// terminalSize gives columns and rows of w; 0 when w is no terminal.
func terminalSize(w io.Writer) (width, height int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// style is how a piece of text looks. It only stresses what the text says.
type style string

// Styles, as the parameters of SGR (ECMA-48, section 8.3.117).
const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// palette paints text where colour is wanted.
type palette struct{ on bool }

// palette decides whether w shows colour (no-color.org).
func (a *app) palette(w io.Writer) palette {
	return palette{isTerminal(w) && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb"}
}

func (p palette) paint(s style, text string) string {
	if !p.on || s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// stateStyle stresses the states that a person looks for.
func stateStyle(m *api.Machine) style {
	switch {
	case m.State == api.MachineFailed, !m.Stuck.IsZero(), m.Conflict != "":
		return red
	case m.State == api.MachineUnconfirmed, m.State == api.MachineArmed:
		return yellow
	case m.State == api.MachineRunning:
		return green
	case m.State == api.MachineBooting, m.State == api.MachineFlashing, m.State == api.MachineHandingOff:
		return cyan
	}
	return plain
}
