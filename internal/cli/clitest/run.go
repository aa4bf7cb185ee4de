// Package clitest runs whole command lines for tests.
package clitest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/lockedbuf"
)

// Main is cli.Main, which a test hands over: this package is below it.
type Main func(ctx context.Context, args []string, s app.Surroundings) int

// Outcome is what one command line did.
type Outcome struct {
	Code           int
	Stdout, Stderr string
}

// Run runs one command line in this process.
func (m Main) Run(t *testing.T, data string, stdin []byte, args ...string) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"GILD_DATA": data}
	code := m(t.Context(), args, app.Surroundings{
		Stdin: bytes.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(k string) string { return env[k] },
	})
	return Outcome{code, stdout.String(), stderr.String()}
}

// Ask runs one command line against a server.
func (m Main) Ask(t *testing.T, f *Fake, args ...string) Outcome {
	t.Helper()
	return m.Run(t, t.TempDir(), nil, append([]string{"--server", f.URL}, args...)...)
}

// Background is a command line that runs until it ends or Stop is called.
type Background struct {
	Stdout, Stderr lockedbuf.Buffer
	Stop           context.CancelFunc
	code           chan int
}

// Start runs one command line against a server in the background.
func (m Main) Start(t *testing.T, f *Fake, args ...string) *Background {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &Background{code: make(chan int, 1), Stop: cancel}
	data := t.TempDir()
	go func() {
		b.code <- m(ctx, append([]string{"--server", f.URL, "--data", data}, args...),
			app.Surroundings{Stdin: strings.NewReader(""), Stdout: &b.Stdout, Stderr: &b.Stderr, Getenv: func(string) string { return "" }})
	}()
	t.Cleanup(cancel)
	return b
}

// Wait returns the exit code.
func (b *Background) Wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-b.code:
		return code
	case <-time.After(2 * time.Minute):
		t.Fatalf("the command does not end\n%s\n%s", b.Stdout.String(), b.Stderr.String())
		return 0
	}
}

// On runs a command line with a terminal at all three ends.
func (m Main) On(t *testing.T, p *PTY, f *Fake, env map[string]string, args ...string) chan int {
	t.Helper()
	data, code := t.TempDir(), make(chan int, 1)
	go func() {
		code <- m(t.Context(), append([]string{"--server", f.URL, "--data", data}, args...),
			app.Surroundings{Stdin: p.tty, Stdout: p.tty, Stderr: p.tty, Getenv: func(k string) string { return env[k] }})
	}()
	return code
}
