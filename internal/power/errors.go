package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

// Kind is why a power control did not do what it was asked. It is an error, so
// that errors.Is(err, power.Denied) asks for it.
type Kind string

// The kinds.
const (
	// Unsupported: this power control cannot do it, and nothing was sent.
	Unsupported Kind = "not supported"
	// Unreachable: nobody answers.
	Unreachable Kind = "unreachable"
	// Denied: the user, the password or the privileges are not enough. It MUST
	// NOT be tried again: power controls lock users out.
	Denied Kind = "denied"
	// Untrusted: the certificate is not the one that is pinned.
	Untrusted Kind = "not trusted"
	// Busy: not now; it may be tried again.
	Busy Kind = "busy"
	// WrongState: the machine is in a state in which it cannot be done.
	WrongState Kind = "wrong state"
	// Unconfirmed: the command was accepted, and the machine did not follow in
	// time.
	Unconfirmed Kind = "not confirmed"
	// Failed: the power control answered with a failure.
	Failed Kind = "failed"
)

func (k Kind) Error() string { return string(k) }

// Error is a failure of a power control.
type Error struct {
	Kind Kind
	Op   string // what was being done
	Err  error  // cause; nil: Kind says it all
	Help string // what to do; empty: see Hint
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: %s", e.Op, e.Kind)
	}
	return fmt.Sprintf("%s: %s: %v", e.Op, e.Kind, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is finds the kind.
func (e *Error) Is(target error) bool { k, ok := target.(Kind); return ok && k == e.Kind }

// hints are what to do about each kind.
var hints = map[Kind]string{
	Unsupported: "use another verb, or another power driver for this machine",
	Unreachable: "check the address of the power control, its cable and whether the protocol is switched on there",
	Denied:      "check user and password of the power control; repeated attempts may lock the user out",
	Busy:        "try again in a minute",
	Unconfirmed: "look again with `gild power status`; the machine may still be on its way",
}

// Hint says what to do.
func (e *Error) Hint() string {
	if e.Help != "" {
		return e.Help
	}
	return hints[e.Kind]
}

// Fail makes an Error.
func Fail(kind Kind, op string, err error) error { return &Error{Kind: kind, Op: op, Err: err} }

// Cannot is the error of a driver that has no such verb.
func Cannot(driver string, v Verb) error {
	return &Error{Kind: Unsupported, Op: string(v), Err: errors.New(driver + " cannot do this")}
}

// Classify makes an Error of a failed exchange: Unreachable when the network or
// the time is the reason, Failed otherwise.
func Classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*Error](err); ours {
		return err
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) {
		return Fail(Unreachable, op, err)
	}
	return Fail(Failed, op, err)
}
