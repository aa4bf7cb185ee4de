package cli

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
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInput       = 3
	ExitNotFound    = 4
	ExitRefused     = 5
	ExitNoServer    = 6
	ExitDenied      = 7
	ExitInterrupted = 130 // 128 + SIGINT, as shells expect
)

// usageError marks wrong use of a command, inputError an input that cannot
// be used, notFound a name that stands for nothing, refusal what is not done
// for safety, unreachable a server that does not answer, denied one that wants
// the admin token.
type (
	usageError  struct{ error }
	inputError  struct{ error }
	notFound    struct{ error }
	refusal     struct{ error }
	unreachable struct{ error }
	denied      struct{ error }
)

func (e usageError) Unwrap() error  { return e.error }
func (e inputError) Unwrap() error  { return e.error }
func (e notFound) Unwrap() error    { return e.error }
func (e refusal) Unwrap() error     { return e.error }
func (e unreachable) Unwrap() error { return e.error }
func (e denied) Unwrap() error      { return e.error }

// hinted carries what to do next beside what went wrong.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// Hint says what to do next.
func (e hinted) Hint() string { return e.hint }

// exitCode is the one place where errors become exit codes.
func exitCode(ctx context.Context, err error) int {
	is := func(target any) bool { return errors.As(err, target) }
	switch {
	case ctx.Err() != nil:
		return ExitInterrupted
	case is(new(usageError)):
		return ExitUsage
	case is(new(notFound)), errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return ExitNotFound
	case is(new(refusal)), errors.Is(err, flash.ErrUnfit):
		return ExitRefused
	case is(new(denied)):
		return ExitDenied
	case is(new(unreachable)):
		return ExitNoServer
	case is(new(inputError)), is(new(*pack.InputError)):
		return ExitInput
	}
	return ExitFailed
}
