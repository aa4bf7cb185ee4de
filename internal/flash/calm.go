package flash

import (
	"context"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/flash/chunks"
)

// A system that starts reads a little here and there and waits for each piece.
// As long as it does, what it demands goes first, and all other work on its
// disk pauses: for a few times as long as a demand takes, so that the next one
// finds the link and the disk free. Between its demands it computes, and the
// cores are its own, but for one worker's and one reader's; so they are for as
// long as it leaves none to spare. A system that has started may read for ever:
// what it demands still goes first, but nothing pauses for it any more.
const (
	calmFactor   = 4 // pauses last that many demands
	shortestCalm = 20 * time.Millisecond
	longestCalm  = 400 * time.Millisecond
	// longestYield is how long all other work pauses at most, however much is
	// demanded, until one piece of it is done: the disk must become complete.
	longestYield = 2 * time.Second
	// busyFor is how long after a demand a system counts as one that starts,
	// startsFor how long at most.
	busyFor   = 4 * time.Second
	startsFor = 2 * time.Minute
	// sparePause is how often a worker that is spared looks whether it is.
	sparePause = 100 * time.Millisecond
)

// errandWorkers is how many workers bring nothing but what is demanded.
const errandWorkers = 2

// What is asked for or zeroed at once while a system may want something else.
const (
	liveSpanBytes = 256 << 10
	liveZeroBytes = 16 << 20
)

// pressure knows how recently, and how long, somebody waited for a chunk. Safe
// for concurrent use.
type pressure struct {
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
	// gate lets one piece of other work pass at a time.
	gate chan struct{}
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

// begin says that a system is about to begin. It is to find everything calm.
func (p *pressure) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.last, p.took = now, now, longestCalm/calmFactor
}

// starts reports whether a system may still be starting. p.mu is held.
func (p *pressure) starts(now time.Time) bool { return now.Sub(p.began) < startsFor }

// want brings chunk i before all others.
func (l *Live) want(i int) error {
	start := time.Now()
	l.demand.mu.Lock()
	ahead := l.demand.run.next(i, l.table.Len())
	l.demand.last = start
	if l.demand.waiting++; l.demand.waiting == 1 {
		l.demand.quiet = start
	}
	l.demand.mu.Unlock()
	if ahead != nil {
		l.chunks.Work.Foresee(ahead)
	}
	err := l.chunks.Work.Demand(l.ctx, i)
	l.demand.mu.Lock()
	defer l.demand.mu.Unlock()
	l.demand.last = time.Now()
	l.demand.quiet = l.demand.last
	l.demand.waiting--
	l.demand.took += (time.Since(start) - l.demand.took) / 4
	l.demand.count++
	l.demand.waited += time.Since(start)
	return err
}

// unmet is how long somebody has waited without anybody getting anything, 0 if
// nobody waits.
func (p *pressure) unmet() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == 0 {
		return 0
	}
	return time.Since(p.quiet)
}

// rest is how long it should stay calm yet, 0 if it is.
func (p *pressure) rest(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.starts(now) {
		return 0
	}
	calm := min(max(calmFactor*p.took, shortestCalm), longestCalm)
	return max(0, p.last.Add(calm).Sub(now))
}

// yield waits while a system demands chunks. Who waits longest goes first, and
// the next one's wait begins after that. A spare worker waits until the system
// has started.
func (f *Flight) yield(ctx context.Context, spare bool) error {
	if f.Move == nil {
		return nil
	}
	for spare && f.busy() {
		select {
		case <-time.After(sparePause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case f.demand.gate <- struct{}{}:
		defer func() { <-f.demand.gate }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for begun := time.Now(); time.Since(begun) < longestYield; {
		rest := f.demand.rest(time.Now())
		if rest == 0 {
			return nil
		}
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// busy reports whether a system starts, and has demanded something lately or
// needs the cores.
func (f *Flight) busy() bool {
	f.demand.mu.Lock()
	now := time.Now()
	starts, demands := f.demand.starts(now), now.Sub(f.demand.last) < busyFor
	f.demand.mu.Unlock()
	return starts && (demands || f.Spare != nil && !f.Spare())
}

func (f *Flight) spanBytes() int64 {
	if f.busy() {
		return liveSpanBytes
	}
	return chunks.SpanBytes
}

func (f *Flight) zeroBytes() int64 {
	if f.Move != nil {
		return liveZeroBytes
	}
	return zeroBytes
}

// runErrands brings what is demanded until nothing can be any more.
func (f *Flight) runErrands(ctx context.Context) error {
	return f.work(func(w *worker) error {
		for {
			span, look := f.chunks.Work.ClaimUrgent(ctx)
			var err error
			switch {
			case len(span) == 0:
				return context.Cause(ctx)
			case look:
				err = f.look(f.live.medium, span[0], w.raw)
			default:
				err = w.bring(ctx, span)
			}
			if err != nil {
				return err
			}
		}
	})
}
