package flash

import (
	"context"
	"fmt"

	"github.com/gild-dev/gild/internal/flash/live"
)

// simPatience is how many things may happen for a system that waits until it
// has to be served. There are few chunks, and each needs few steps.
const simPatience = 20_000

// uses is a call of the system. What would have to wait is mostly given up.
// Where nothing else is under way, the system may wait: then it must be served
// by those who serve waiters, though nothing else arrives.
func (s *simulation) uses(call func(*live.Disk) error) error {
	if s.depth > 0 || len(s.busy) > 1 || len(s.reads) > 1 || s.rnd.IntN(4) > 0 {
		return call(s.f.live)
	}
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	w := &simWait{s: s, giveUp: giveUp}
	s.f.chunks.Pause = w.pause
	defer func() { s.f.chunks.Pause = nil }()
	err := call(live.New(ctx, s.config))
	if err != nil && !s.broken {
		panic(fmt.Sprintf("the system waits for ever: %v; states %v", err, s.states()))
	}
	if w.steps > 0 {
		s.seen.waits++
	}
	return err
}

// simWait has others act while somebody waits for a change of the chunk map.
type simWait struct {
	s      *simulation
	steps  int
	giveUp context.CancelFunc
}

func (w *simWait) pause() {
	s := w.s
	if w.steps++; s.broken || w.steps > simPatience {
		w.giveUp()
		return
	}
	mine := s.mine
	s.mine, s.serving, s.depth = 0, true, s.depth+1
	s.serves()
	s.mine, s.serving, s.depth = mine, false, s.depth-1
}
