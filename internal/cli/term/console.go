// Package term is what a command says to a person at a terminal or to a script.
package term

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Console is both ends of the conversation with whoever typed a command.
type Console struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	JSON           bool // standard output is for a script
	Output         Output
	Mono           bool // no colour, whatever the terminal
	Pager          Pager
}

// IsTerminal reports whether v is a file that is a terminal.
func IsTerminal(v any) bool {
	f, ok := file(v)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Width gives the number of cells in a line of w; 0 when w is no terminal and
// lines have no end.
func Width(w io.Writer) int {
	width, _ := Size(w)
	return width
}

// Size gives columns and rows of w; 0 when w is no terminal.
func Size(w io.Writer) (width, height int) {
	f, ok := file(w)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// Interactive reports whether both ends of the conversation are a person's.
func (c *Console) Interactive() bool { return IsTerminal(c.Stdin) && IsTerminal(c.Stderr) }

// Palette decides whether w shows colour (no-color.org).
func (c *Console) Palette(w io.Writer) Palette { return Palette{IsTerminal(w) && !c.Mono} }

// PrintTable prints rows under a header, in columns that fit the terminal.
func (c *Console) PrintTable(header string, rows [][]string) {
	c.Table(c.Stdout, Table{Header: strings.Split(header, " | "), Rows: rows})
}

// Table prints a table in the width and colours that w has.
func (c *Console) Table(w io.Writer, t Table) { t.Write(w, Width(w), c.Palette(w)) }

// Fact prints one fact with its name in front. What it quotes may be foreign.
func (c *Console) Fact(name, format string, args ...any) {
	fmt.Fprintf(c.Stdout, "%-12s %s\n", name, Printable(fmt.Sprintf(format, args...)))
}

// maxAnswer bounds what is read as an answer, in bytes.
const maxAnswer = 100

// Ask reads one line, or nothing when ctx ends first: a terminal is read by no
// call that could be interrupted.
func (c *Console) Ask(ctx context.Context) string {
	line := make(chan string, 1)
	go func() {
		answer, err := bufio.NewReader(io.LimitReader(c.Stdin, maxAnswer)).ReadString('\n')
		if err != nil {
			answer = ""
		}
		line <- strings.TrimSpace(answer)
	}()
	select {
	case answer := <-line:
		return answer
	case <-ctx.Done():
		return ""
	}
}

// Agreed asks a person to agree to something that is done to n things: by yes,
// or by their number where they are several. what says what becomes of them, to
// continues "Type yes to".
func (c *Console) Agreed(ctx context.Context, n int, what, to string) bool {
	want := "yes"
	if n > 1 {
		want = strconv.Itoa(n)
	}
	fmt.Fprintf(c.Stderr, "\n%s Type %s to %s: ", what, want, to)
	return c.Ask(ctx) == want
}
