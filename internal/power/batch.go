package power

import (
	"context"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
)

// Batch is how requests to many machines are made.
type Batch struct {
	// AtOnce is how many machines are worked on at once; at least 1.
	AtOnce int
	// Spread is the least time between the starts of two requests, so that a
	// rack does not draw its inrush current at once; 0: none.
	Spread time.Duration
}

// Fate is what became of one machine's request.
type Fate struct {
	State State
	// Err is why it was not done; nil: it was. NotTried wraps the reason of
	// one that was not begun.
	Err error
}

// NotTried says that a request was not begun: the machine was not touched.
type NotTried struct{ Err error }

func (e *NotTried) Error() string { return "not tried: " + e.Err.Error() }

// Unwrap gives the reason.
func (e *NotTried) Unwrap() error { return e.Err }

// Run does something for each of n machines and returns the fate of each, soon
// after ctx is done at the latest: do MUST return then. Once ctx is done no
// other is begun.
func (b Batch) Run(ctx context.Context, n int, do func(ctx context.Context, i int) (State, error)) []Fate {
	fates := make([]Fate, n)
	slots := make(chan struct{}, max(b.AtOnce, 1))
	var under sync.WaitGroup
	begun := n
	for i := range n {
		if i > 0 && b.Spread > 0 && backoff.Sleep(ctx, b.Spread) != nil {
			begun = i
			break
		}
		select {
		case <-ctx.Done():
		case slots <- struct{}{}:
		}
		if ctx.Err() != nil {
			begun = i
			break
		}
		under.Go(func() {
			defer func() { <-slots }()
			fates[i].State, fates[i].Err = do(ctx, i)
		})
	}
	for i := begun; i < n; i++ {
		fates[i] = Fate{State: Unknown, Err: &NotTried{context.Cause(ctx)}}
	}
	under.Wait()
	return fates
}
