package live

import (
	"slices"
	"sync"
)

// Recent keeps the bytes of the chunks that were demanded last, until they were
// proved. It is safe for concurrent use.
type Recent struct {
	mu     sync.Mutex
	most   int
	chunks []recentChunk // the oldest first
}

type recentChunk struct {
	i   int
	raw []byte
}

// NewRecent keeps up to most chunks, one at least.
func NewRecent(most int) *Recent { return &Recent{most: max(most, 1)} }

// Add keeps a copy of a chunk.
func (r *Recent) Add(i int, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.chunks, func(c recentChunk) bool { return c.i == i }) {
		return
	}
	c := recentChunk{i: i}
	if len(r.chunks) >= r.most { // the oldest lends its bytes
		c.raw = r.chunks[0].raw[:0]
		r.chunks = slices.Delete(r.chunks, 0, 1)
	}
	c.raw = append(c.raw, raw...)
	r.chunks = append(r.chunks, c)
}

func (r *Recent) read(i int, p []byte, at int64) bool {
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
