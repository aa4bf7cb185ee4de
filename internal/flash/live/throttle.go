package live

import (
	"context"
	"sync"
	"time"
)

// A system that starts reads a little here and there and waits for each piece.
// As long as it does, what it demands goes first, and all other work on its
// disk pauses: for a few times as long as a demand takes, so that the next one
// finds the link and the disk free. Between its demands it computes, and the
// cores are its own, but for one worker's and one reader's; so they are for as
// long as it leaves none to spare. A system that has started may read for ever:
// what it demands still goes first, but nothing pauses for it any more.
const (
	pauseFactor   = 4 // pauses last that many demands
	shortestPause = 20 * time.Millisecond
	// LongestPause is how long other work pauses after one demand at most.
	LongestPause = 400 * time.Millisecond
	// longestYield is how long all other work pauses at most, however much is
	// demanded, until one piece of it is done: the disk must become complete.
	longestYield = 2 * time.Second
	// busyFor is how long after a demand a system counts as one that starts.
	busyFor = 4 * time.Second
	// StartsFor is how long a system counts as one that starts at most.
	StartsFor = 2 * time.Minute
	// sparePause is how often a worker that is spared looks whether it is.
	sparePause = 100 * time.Millisecond
)

// Throttle knows how recently, and how long, somebody waited for a chunk, and
// holds back all other work accordingly. A nil Throttle, of a disk that no
// system runs from, holds back nothing. It is safe for concurrent use.
type Throttle struct {
	spare func() bool
	// gate lets one piece of other work pass at a time.
	gate chan struct{}

	mu    sync.Mutex
	began time.Time // the system
	last  time.Time
	took  time.Duration // a demand, smoothed
	run   follower
	// count and waited are of all demands so far.
	count  int
	waited time.Duration
	// waiting is how many demands are open, and quiet since when none was met.
	waiting int
	quiet   time.Time
}

// NewThrottle holds back nothing before Begin. spare reports whether the
// machine has cores to spare; nil means that it always has.
func NewThrottle(spare func() bool) *Throttle {
	return &Throttle{spare: spare, gate: make(chan struct{}, 1)}
}

// Begin says that a system is about to begin. It is to find everything calm.
func (t *Throttle) Begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began, t.last, t.took = now, now, LongestPause/pauseFactor
}

// starts reports whether a system may still be starting. t.mu is held.
func (t *Throttle) starts(now time.Time) bool { return now.Sub(t.began) < StartsFor }

// demand takes note that somebody waits for chunk i of so many, and returns
// the chunks that are likely to be wanted next. met is called when the wait is
// over.
func (t *Throttle) demand(i, chunks int) (ahead []int, met func()) {
	start := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = start
	if t.waiting++; t.waiting == 1 {
		t.quiet = start
	}
	return t.run.next(i, chunks), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.last = time.Now()
		t.quiet = t.last
		t.waiting--
		t.took += (time.Since(start) - t.took) / 4
		t.count++
		t.waited += time.Since(start)
	}
}

// Demands returns how often somebody has waited for a chunk, and how long in
// all.
func (t *Throttle) Demands() (count int, waited time.Duration) {
	if t == nil {
		return 0, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.waited
}

// Unmet is how long somebody has waited without anybody getting anything, 0 if
// nobody waits.
func (t *Throttle) Unmet() time.Duration {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == 0 {
		return 0
	}
	return time.Since(t.quiet)
}

// rest is how long the pause should last yet, 0 if there is none.
func (t *Throttle) rest(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.starts(now) {
		return 0
	}
	pause := min(max(pauseFactor*t.took, shortestPause), LongestPause)
	return max(0, t.last.Add(pause).Sub(now))
}

// Yield waits while a system demands chunks. Who waits longest goes first, and
// the next one's wait begins after that. A spare worker waits until the system
// has started.
func (t *Throttle) Yield(ctx context.Context, spare bool) error {
	if t == nil {
		return nil
	}
	for spare && t.Busy() {
		if err := sleep(ctx, sparePause); err != nil {
			return err
		}
	}
	select {
	case t.gate <- struct{}{}:
		defer func() { <-t.gate }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for begun := time.Now(); time.Since(begun) < longestYield; {
		rest := t.rest(time.Now())
		if rest == 0 {
			return nil
		}
		if err := sleep(ctx, rest); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Busy reports whether a system starts, and has demanded something recently or
// needs the cores.
func (t *Throttle) Busy() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	now := time.Now()
	starts, demands := t.starts(now), now.Sub(t.last) < busyFor
	t.mu.Unlock()
	return starts && (demands || t.spare != nil && !t.spare())
}

// follower finds demands that follow each other on the disk.
type follower struct {
	last, length int
}

// next takes note of a demand and returns the chunks to bring ahead of being
// asked for them: none before the second in a row, then twice as many each
// time.
func (f *follower) next(i, chunks int) (ahead []int) {
	const most = 8
	if i != f.last+1 {
		f.length = 0
	}
	f.last, f.length = i, f.length+1
	if f.length < 2 {
		return nil
	}
	for k := i + 1; k < min(i+1+min(1<<(f.length-1), most), chunks); k++ {
		ahead = append(ahead, k)
	}
	return ahead
}
