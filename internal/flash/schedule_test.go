package flash

import (
	"cmp"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gild-dev/gild/internal/flash/supply"
)

// scheduler decides which call of the engine ends next. It waits until every
// goroutine of the engine waits for it, so that a seed decides the whole run
// and the clock stands still meanwhile.
type scheduler struct {
	rnd *rand.Rand
	// hang, when set, names calls that never end.
	hang func(*op) bool
	// ending, when set, sees each call before it ends.
	ending func(*op)

	mu      sync.Mutex
	arrived []*op
	wake    chan struct{}
	open    []*op // begun, not ended
	hung    []*op
}

func newScheduler(rnd *rand.Rand) *scheduler {
	return &scheduler{rnd: rnd, wake: make(chan struct{}, 1)}
}

// submit returns when the call has ended.
func (s *scheduler) submit(o *op) {
	o.done = make(chan struct{})
	s.mu.Lock()
	s.arrived = append(s.arrived, o)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	<-o.done
}

// runScheduled runs the job in a bubble with its own clock and returns what
// Run returned.
func runScheduled(t *testing.T, s *scheduler, job Job) (result Result, err error) {
	synctest.Test(t, func(t *testing.T) {
		s.wake = make(chan struct{}, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			result, err = Run(t.Context(), job)
		}()
		s.run(done)
	})
	return result, err
}

func (s *scheduler) run(done <-chan struct{}) {
	for {
		synctest.Wait()
		s.admit()
		if len(s.open) == 0 {
			select {
			case <-done:
				s.drain()
				return
			case <-s.wake:
				continue
			}
		}
		i := s.rnd.IntN(len(s.open))
		o := s.open[i]
		s.open = slices.Delete(s.open, i, i+1)
		if s.ending != nil {
			s.ending(o)
		}
		o.end()
		close(o.done)
	}
}

// drain lets go of calls that hung, and of what the engine does upon that.
func (s *scheduler) drain() {
	s.hang = nil
	for left := s.hung; len(left) > 0; {
		for _, o := range left {
			o.end()
			close(o.done)
		}
		synctest.Wait()
		s.admit()
		left, s.open = s.open, nil
	}
}

// admit begins the calls that came since the last look. Those that came at the
// same time are put into an order of their own: which goroutine was first is
// not the seed's doing.
func (s *scheduler) admit() {
	s.mu.Lock()
	arrived := s.arrived
	s.arrived = nil
	s.mu.Unlock()
	slices.SortFunc(arrived, func(a, b *op) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.off, b.off), cmp.Compare(len(a.data), len(b.data)))
	})
	for _, o := range arrived {
		o.begin()
		if s.hang != nil && s.hang(o) {
			s.hung = append(s.hung, o)
			continue
		}
		s.open = append(s.open, o)
	}
}

// scheduledSource gives a source's requests their place in the schedule too.
type scheduledSource struct {
	supply.Ranges
	schedule *scheduler
}

func (s scheduledSource) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	o := &op{kind: opSource, off: off}
	s.schedule.submit(o)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return o.body(ctx, s.Ranges, off, length)
}
