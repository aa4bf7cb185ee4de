package access

import (
	"net/netip"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/server/budget"
)

const (
	// maxFailures is how many wrong tokens and sessions an address may send
	// within failureWindow.
	maxFailures   = 10
	failureWindow = time.Minute
	// maxFailing bounds the memory: addresses that are counted at once.
	maxFailing = 1024
)

// failures counts wrong tokens and sessions by address. It does not make
// guessing 256 bits any harder: it keeps guessers from making work for the
// state and lines for the log. The zero value is ready.
type failures struct {
	mu sync.Mutex
	by map[netip.Prefix]failing
}

type failing struct {
	n     int
	until time.Time
}

// allow tells whether the address may try.
func (f *failures) allow(remote string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.by[budget.Sender(remote)]
	return c.n < maxFailures || !now.Before(c.until)
}

// note counts a failure.
func (f *failures) note(remote string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[netip.Prefix]failing{}
	}
	key := budget.Sender(remote)
	c := f.by[key]
	if !now.Before(c.until) {
		c = failing{until: now.Add(failureWindow)}
	}
	c.n++
	if _, known := f.by[key]; !known && len(f.by) >= maxFailing {
		f.makeRoom(now)
	}
	f.by[key] = c
}

// makeRoom drops what is over, and any one when nothing is.
func (f *failures) makeRoom(now time.Time) {
	for key, c := range f.by {
		if !now.Before(c.until) {
			delete(f.by, key)
		}
	}
	for key := range f.by {
		if len(f.by) < maxFailing {
			return
		}
		delete(f.by, key)
	}
}
