package budget

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter gives each key tokens of its own: Burst at once, then Rate a second.
// It knows at most Keys keys at a time; those that have all their tokens are
// forgotten first, which makes no difference to them.
type Limiter struct {
	Rate  rate.Limit
	Burst int
	Keys  int

	mu sync.Mutex
	by map[string]*rate.Limiter
}

// Allow takes a token of a key; false: it has none left.
func (l *Limiter) Allow(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.by[key]
	if one == nil {
		if l.by == nil {
			l.by = map[string]*rate.Limiter{}
		}
		if len(l.by) >= l.Keys {
			l.forget(now)
		}
		one = rate.NewLimiter(l.Rate, l.Burst)
		l.by[key] = one
	}
	return one.AllowN(now, 1)
}

// forget makes room for new keys: an eighth of all at least.
func (l *Limiter) forget(now time.Time) {
	for key, one := range l.by {
		if one.TokensAt(now) >= float64(l.Burst) {
			delete(l.by, key)
		}
	}
	for key := range l.by {
		if len(l.by) <= l.Keys-l.Keys/8 {
			return
		}
		delete(l.by, key)
	}
}
