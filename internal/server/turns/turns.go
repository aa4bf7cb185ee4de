// Package turns lets those who want one thing have it one after the other, in
// the order in which they came.
package turns

import (
	"context"
	"sync"
)

// Turns are of things that have names. The zero value is ready; it knows only
// the things that somebody has or waits for.
type Turns struct {
	mu sync.Mutex
	by map[string]*turn
}

// turn is one thing: who has it has put a token into the channel, from which
// those who wait are served in their order.
type turn struct {
	token chan struct{}
	users int // that have it or wait
}

// Take waits until it is the caller's turn, which ends with done. An error is
// that of ctx.
func (t *Turns) Take(ctx context.Context, name string) (done func(), err error) {
	t.mu.Lock()
	one := t.by[name]
	if one == nil {
		if t.by == nil {
			t.by = map[string]*turn{}
		}
		one = &turn{token: make(chan struct{}, 1)}
		t.by[name] = one
	}
	one.users++
	t.mu.Unlock()
	select {
	case one.token <- struct{}{}:
		return func() { <-one.token; t.leave(name, one) }, nil
	case <-ctx.Done():
		t.leave(name, one)
		return nil, ctx.Err()
	}
}

func (t *Turns) leave(name string, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(t.by, name)
	}
}
