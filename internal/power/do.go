package power

import (
	"context"
	"errors"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
)

// Limits of one request.
const (
	// CallLimit is how long one call of a driver may take.
	CallLimit = 60 * time.Second
	// Limit is how long a request may take whose context has no deadline.
	Limit = 5 * time.Minute

	firstLook   = time.Second // between two looks at the state
	longestLook = 10 * time.Second
	// settle is how long after a cycle the state is not worth reading: it is
	// still the old one.
	settle = 3 * time.Second
	// lastCall is how long the one command may take that is still given when
	// the time is over.
	lastCall = 10 * time.Second
)

// Do carries out a request and waits until the machine is as asked, or ctx is
// done: then the error is Unconfirmed. Of a cycle that has begun the power is
// restored even then. It returns the state that the machine is
// in; Unknown where the driver cannot read it. A machine that is already as
// asked is left alone, and a cycle switches one on that is off. Errors are
// *Error.
func Do(ctx context.Context, d Driver, r Request) (State, error) {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Limit)
		defer cancel()
	}
	c := control{d}
	switch r.Verb {
	case VerbStatus:
		return c.status(ctx)
	case VerbOn:
		return c.bring(ctx, On, c.on)
	case VerbOff:
		return c.bring(ctx, Off, func(ctx context.Context) error { return c.d.Off(ctx, r.Orderly) })
	case VerbCycle:
		return c.cycle(ctx)
	case VerbReset:
		return c.reset(ctx)
	case VerbBootOnce:
		return c.thenLook(ctx, func(ctx context.Context) error { return d.BootOnce(ctx, r.Boot) })
	case VerbIdentify:
		return c.thenLook(ctx, func(ctx context.Context) error { return d.Identify(ctx, r.Lasting) })
	}
	return Unknown, Fail(Unsupported, string(r.Verb), errors.New("no such verb"))
}

// control is a driver, each of whose calls has a limit.
type control struct{ d Driver }

func (c control) on(ctx context.Context) error { return c.d.On(ctx) }

// call makes one call. What ends by its limit has not been answered.
func (c control) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, CallLimit)
	defer cancel()
	return Classify("asking the power control", do(ctx))
}

// insist makes a call again while the power control is busy.
func (c control) insist(ctx context.Context, do func(context.Context) error) error {
	wait := backoff.Backoff{First: 2 * firstLook, Longest: longestLook}
	for {
		err := c.call(ctx, do)
		if !errors.Is(err, Busy) || backoff.Sleep(ctx, wait.Next()) != nil {
			return err
		}
	}
}

func (c control) status(ctx context.Context) (State, error) {
	s := Unknown
	err := c.insist(ctx, func(ctx context.Context) (err error) {
		s, err = c.d.Status(ctx)
		return err
	})
	if err != nil {
		s = Unknown
	}
	return s, err
}

// bring brings the machine into a state by a command.
func (c control) bring(ctx context.Context, want State, command func(context.Context) error) (State, error) {
	s, err := c.status(ctx)
	blind := errors.Is(err, Unsupported)
	switch {
	case blind:
	case err != nil:
		return Unknown, err
	case s == want:
		return s, nil
	}
	if err := c.insist(ctx, command); err != nil || blind {
		return s, err
	}
	return c.await(ctx, want)
}

// await looks until the machine is in a state. A power control that does not
// answer meanwhile may only be busy with what it was told.
func (c control) await(ctx context.Context, want State) (State, error) {
	wait := backoff.Backoff{First: firstLook, Longest: longestLook}
	last := Unknown
	for {
		s, err := c.status(ctx)
		switch {
		case err == nil && s == want:
			return s, nil
		case errors.Is(err, Denied), errors.Is(err, Untrusted), errors.Is(err, Unsupported):
			return s, err
		case err == nil:
			last = s
		}
		if backoff.Sleep(ctx, wait.Next()) != nil {
			return last, Fail(Unconfirmed, "waiting until the machine is "+string(want), err)
		}
	}
}

// cycle cuts the power and restores it, by two commands where the power control
// has none for both.
func (c control) cycle(ctx context.Context) (State, error) {
	s, err := c.status(ctx)
	blind := errors.Is(err, Unsupported)
	if err != nil && !blind {
		return Unknown, err
	}
	if s == Off {
		return c.bring(ctx, On, c.on)
	}
	err = c.insist(ctx, c.d.Cycle)
	switch {
	case blind || err != nil && !errors.Is(err, Unsupported):
		return s, err
	case err == nil:
		if backoff.Sleep(ctx, settle) != nil {
			return Unknown, Fail(Unconfirmed, "waiting until the machine is on again", nil)
		}
		return c.await(ctx, On)
	}
	return c.offAndOn(ctx)
}

// offAndOn cycles by two commands. Between them the machine must not be left
// off because the time is over, or whoever asked has gone.
func (c control) offAndOn(ctx context.Context) (State, error) {
	sent := false // and perhaps followed, although nobody heard so
	s, err := c.bring(ctx, Off, func(ctx context.Context) error {
		sent = true
		return c.d.Off(ctx, false)
	})
	if err != nil && (ctx.Err() == nil || !sent) {
		return s, err
	}
	if ctx.Err() == nil {
		return c.bring(ctx, On, c.on)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCall)
	defer cancel()
	return Unknown, Fail(Unconfirmed, "waiting until the machine is on again", c.call(last, c.on))
}

func (c control) reset(ctx context.Context) (State, error) {
	s, err := c.status(ctx)
	switch {
	case err != nil && !errors.Is(err, Unsupported):
		return Unknown, err
	case s == Off:
		return s, &Error{Kind: WrongState, Op: "reset", Err: errors.New("the machine is off"), Help: "switch it on: gild power on"}
	}
	return s, c.insist(ctx, c.d.Reset)
}

// thenLook makes a call that changes no state, and tells the state.
func (c control) thenLook(ctx context.Context, command func(context.Context) error) (State, error) {
	if err := c.insist(ctx, command); err != nil {
		return Unknown, err
	}
	s, err := c.status(ctx)
	if err != nil {
		return Unknown, nil //nolint:nilerr // what was asked is done; the state is only told beside it
	}
	return s, nil
}
