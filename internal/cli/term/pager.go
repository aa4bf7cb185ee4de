package term

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

// Pager shows what is longer than the terminal.
type Pager struct {
	Command string   // for the shell, as in PAGER; empty: there is none
	Env     []string // of it, beside that of this process
}

// page is what a command prints until it is known whether it fits the terminal,
// whose width and colours it has meanwhile.
type page struct {
	bytes.Buffer
	terminal *os.File
}

// file is the file behind a writer; false: there is none.
func file(w any) (*os.File, bool) {
	if p, ok := w.(*page); ok {
		return p.terminal, true
	}
	f, ok := w.(*os.File)
	return f, ok
}

// Paged calls show, and has the pager show what it prints where that is longer
// than the terminal. It is for what ends by itself: nothing is seen before.
func (c *Console) Paged(show func() error) error {
	terminal, ok := c.Stdout.(*os.File)
	if !ok || c.Pager.Command == "" || c.JSON || !IsTerminal(terminal) {
		return show()
	}
	p := &page{terminal: terminal}
	c.Stdout = p
	err := show()
	c.Stdout = terminal
	if _, rows := Size(terminal); bytes.Count(p.Bytes(), []byte("\n")) < rows {
		_, failed := terminal.Write(p.Bytes())
		return errors.Join(err, failed)
	}
	return errors.Join(err, c.page(p.Bytes()))
}

// Exit codes of a shell whose command cannot be run (POSIX, Shell Command
// Language, 2.8.2).
const (
	notExecutable = 126
	notFound      = 127
)

// page has the pager show a text. The text is printed as it is where there is
// no such program.
func (c *Console) page(text []byte) error {
	// The pager decides what an interrupt means while it has the terminal.
	taken := make(chan os.Signal, 1)
	signal.Notify(taken, os.Interrupt)
	defer signal.Stop(taken)
	cmd := exec.Command("/bin/sh", "-c", c.Pager.Command) //nolint:noctx // the person ends it
	cmd.Env = append(os.Environ(), c.Pager.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), c.Stdout, c.Stderr
	err := cmd.Run()
	ended, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, errors.Is(err, unix.EPIPE): // it was left before its end
		return nil
	case ran && ended.ExitCode() != notFound && ended.ExitCode() != notExecutable:
		return nil // how somebody leaves it says nothing of what was shown
	}
	fmt.Fprintf(c.Stderr, "gild: the pager %s cannot be started; set GILD_PAGER or PAGER, or give --no-pager\n",
		Printable(strings.TrimSpace(c.Pager.Command)))
	_, err = io.Copy(c.Stdout, bytes.NewReader(text))
	return err
}
