// Package exit gives an error the exit code that a script sees.
package exit

import (
	"context"
	"errors"
	"io/fs"

	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/store"
)

// Exit codes, as `gild help` documents them.
const (
	CodeOK          = 0
	CodeFailed      = 1
	CodeUsage       = 2
	CodeInput       = 3
	CodeNotFound    = 4
	CodeRefused     = 5
	CodeNoServer    = 6
	CodeDenied      = 7
	CodeDiffers     = 8
	CodeInterrupted = 130 // 128 + SIGINT, as shells expect
)

// coded is an error that knows its code.
type coded struct {
	error
	code int
}

func (e coded) Unwrap() error { return e.error }

// Is finds the first error of a tree that has a code.
func (e coded) Is(target error) bool {
	want, ok := target.(coded)
	return ok && want.error == nil && want.code == e.code
}

// Usage marks wrong use of a command.
func Usage(err error) error { return coded{err, CodeUsage} }

// Input marks an input that cannot be used.
func Input(err error) error { return coded{err, CodeInput} }

// NotFound marks a name that stands for nothing.
func NotFound(err error) error { return coded{err, CodeNotFound} }

// Refused marks what is not done for safety.
func Refused(err error) error { return coded{err, CodeRefused} }

// NoServer marks a server that does not answer.
func NoServer(err error) error { return coded{err, CodeNoServer} }

// Denied marks a server that wants the admin token.
func Denied(err error) error { return coded{err, CodeDenied} }

// Differs marks a dry run that would have changed something.
func Differs(err error) error { return coded{err, CodeDiffers} }

// Has reports whether err is, or wraps, an error marked with the code.
func Has(err error, code int) bool { return errors.Is(err, coded{nil, code}) }

// hinted carries what to do next beside what went wrong.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }
func (e hinted) Hint() string  { return e.hint }

// Hint adds what to do next to what went wrong.
func Hint(err error, hint string) error { return hinted{err, hint} }

// HintOf gives the outermost hint of an error; empty: there is none.
func HintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// Code is the one place where errors become exit codes.
func Code(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil:
		return CodeInterrupted
	case Has(err, CodeUsage):
		return CodeUsage
	case Has(err, CodeNotFound), errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return CodeNotFound
	case Has(err, CodeRefused), errors.Is(err, flash.ErrUnfit):
		return CodeRefused
	case Has(err, CodeDiffers):
		return CodeDiffers
	case Has(err, CodeDenied):
		return CodeDenied
	case Has(err, CodeNoServer):
		return CodeNoServer
	case Has(err, CodeInput), errors.As(err, new(*pack.InputError)):
		return CodeInput
	}
	return CodeFailed
}
