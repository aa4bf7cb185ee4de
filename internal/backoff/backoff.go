// Package backoff gives the waits between attempts.
//
// They grow, are bounded, and are moved at random, so that the machines that
// lost their server in the same second do not come back in step.
package backoff

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Backoff is one series of waits. The zero value starts at one second and
// grows to a minute. Not safe for concurrent use.
type Backoff struct {
	First   time.Duration // 0 means 1 s
	Longest time.Duration // 0 means 60 s

	next time.Duration
}

// Next returns the next wait: from half to one and a half times a base that
// doubles with each call up to Longest, and at least a nanosecond: whether a
// wait is one at all is not left to chance.
func (b *Backoff) Next() time.Duration {
	if b.next == 0 {
		b.next = b.First
		if b.next <= 0 {
			b.next = time.Second
		}
	}
	longest := b.Longest
	if longest <= 0 {
		longest = time.Minute
	}
	wait := min(b.next, longest)
	b.next = min(2*wait, longest)
	return max(1, wait/2+rand.N(wait+1))
}

// Reset starts the series again, after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Sleep waits for d or until ctx is done, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Permanent reports whether trying again cannot mend a failure: err, or what it
// wraps, has a method Permanent() bool that returns true.
func Permanent(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Permanent() bool
	}](err)
	return ok && e.Permanent()
}
