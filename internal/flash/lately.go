package flash

import (
	"slices"
	"sync"
)

// latelyBytes is how much of what was demanded stays in memory until it was
// proved.
const latelyBytes = 8 << 20

// lately keeps the bytes of the last chunks that were demanded.
type lately struct {
	mu     sync.Mutex
	most   int
	chunks []lateChunk // the oldest first
}

type lateChunk struct {
	i   int
	raw []byte
}

func newLately(most int) *lately { return &lately{most: max(most, 1)} }

func (r *lately) add(i int, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.chunks, func(c lateChunk) bool { return c.i == i }) {
		return
	}
	c := lateChunk{i: i}
	if len(r.chunks) >= r.most { // the oldest lends its bytes
		c.raw = r.chunks[0].raw[:0]
		r.chunks = slices.Delete(r.chunks, 0, 1)
	}
	c.raw = append(c.raw, raw...)
	r.chunks = append(r.chunks, c)
}

func (r *lately) read(i int, p []byte, at int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.chunks {
		if c.i == i {
			copy(p, c.raw[at:])
			return true
		}
	}
	return false
}

// remember keeps a chunk that somebody waits for.
func (f *Flight) remember(i int, raw []byte) {
	if f.Move != nil && f.chunks.Work.Demanded(i) {
		f.lately.add(i, raw)
	}
}
