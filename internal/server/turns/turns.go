// Package turns lets those who want one thing have it one after the other, in
// the order in which they came.
package turns

import (
	"context"
	"slices"
	"sync"
)

// Turns are of things that have names. The zero value is ready; it knows only
// the things that somebody has or waits for.
type Turns struct {
	mu sync.Mutex
	by map[string]*queue
}

// queue is of those who wait for one thing that somebody has. Each is told by
// the end of a channel of its own.
type queue struct {
	ahead, rest []chan struct{}
}

type aheadKey struct{}

// Ahead has whoever takes turns with the context it returns go before all that
// wait, however many they are. It is for the few who are trusted.
func Ahead(ctx context.Context) context.Context {
	return context.WithValue(ctx, aheadKey{}, true)
}

// Take waits until it is the caller's turn, which ends with done. An error is
// that of ctx.
func (t *Turns) Take(ctx context.Context, name string) (done func(), err error) {
	mine := t.join(name, ctx.Value(aheadKey{}) != nil)
	done = func() { t.next(name) }
	select {
	case <-mine:
		return done, nil
	case <-ctx.Done():
	}
	if !t.leave(name, mine) {
		done() // it was given the turn in this moment
	}
	return nil, ctx.Err()
}

// join returns a channel that ends when the turn has come.
func (t *Turns) join(name string, ahead bool) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine, q := make(chan struct{}), t.by[name]
	switch {
	case q == nil:
		if t.by == nil {
			t.by = map[string]*queue{}
		}
		t.by[name] = &queue{}
		close(mine)
	case ahead:
		q.ahead = append(q.ahead, mine)
	default:
		q.rest = append(q.rest, mine)
	}
	return mine
}

// next ends a turn: the next one begins, if somebody waits.
func (t *Turns) next(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.by[name]
	from := &q.ahead
	if len(*from) == 0 {
		from = &q.rest
	}
	if len(*from) == 0 {
		delete(t.by, name)
		return
	}
	close((*from)[0])
	*from = (*from)[1:]
}

// leave says whether somebody still waited, and now does no more.
func (t *Turns) leave(name string, mine chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.by[name]
	if q == nil {
		return false
	}
	return without(&q.ahead, mine) || without(&q.rest, mine)
}

func without(from *[]chan struct{}, mine chan struct{}) bool {
	i := slices.Index(*from, mine)
	if i < 0 {
		return false
	}
	*from = slices.Delete(*from, i, i+1)
	return true
}
