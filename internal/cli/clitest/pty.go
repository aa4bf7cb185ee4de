package clitest

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ANSI are the escape sequences that a terminal understands.
var ANSI = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// PTY is a terminal: what a program writes to it arrives in Text, what is
// written to Main it reads.
type PTY struct {
	Main, tty *os.File
	mu        sync.Mutex
	screen    bytes.Buffer
}

// NewPTY opens a terminal of that size.
func NewPTY(t *testing.T, cols, rows uint16) *PTY {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	p := &PTY{Main: main, tty: tty}
	p.Resize(t, cols, rows)
	t.Cleanup(func() { tty.Close(); main.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := main.Read(buf)
			p.mu.Lock()
			p.screen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

// Resize gives the terminal another size.
func (p *PTY) Resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(p.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// Text is all that was written so far.
func (p *PTY) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// Expect waits until the terminal has shown a text.
func (p *PTY) Expect(t *testing.T, text string) {
	t.Helper()
	for range 12000 { // two minutes: for what never comes
		if strings.Contains(p.Text(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the terminal never shows %q:\n%q", text, p.Text())
}
