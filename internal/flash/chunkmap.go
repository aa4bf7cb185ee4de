package flash

import (
	"sync"

	"github.com/gild-dev/gild/internal/golden"
)

// state is how far a chunk has come.
type state uint8

const (
	absent   state = iota // not known to be on the disk
	fetching              // claimed by a worker
	written               // on the disk, or in its cache
	verified              // read back from the medium, or found right in a scan
)

// Ranges are fetched in spans of about spanBytes compressed bytes: long
// enough that a request costs nothing, short enough that the workers finish
// together. A gap of unwanted frames up to gapBytes is read and dropped,
// which is cheaper than another request.
const (
	spanBytes = 4 << 20
	gapBytes  = 64 << 10
)

// chunkMap knows the state of every chunk and hands out what is to be done
// next. A full flash, a resume and a delta differ only in what is absent.
type chunkMap struct {
	table *golden.Table

	mu    sync.Mutex
	state []state
	next  int // no absent data chunk lies before it
}

// newChunkMap starts with everything absent, but for held chunks of zeros:
// those are zero in memory already.
func newChunkMap(t *golden.Table, held *heldChunks) *chunkMap {
	m := &chunkMap{table: t, state: make([]state, t.Len())}
	for i := range m.state {
		if t.Zero(i) && held.holds(i) {
			m.state[i] = written
		}
	}
	return m
}

// claim returns the next absent data chunks that are worth one request, in
// blob order, now fetching; none means that nothing is left to claim.
func (m *chunkMap) claim() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var span []int
	var start, end int64
	for ; m.next < len(m.state); m.next++ {
		c := m.table.Chunk(m.next)
		if m.state[m.next] != absent || c.Zero {
			continue
		}
		if len(span) > 0 && (c.Offset-end > gapBytes || c.Offset+c.Length-start > spanBytes) {
			break
		}
		if len(span) == 0 {
			start = c.Offset
		}
		end = c.Offset + c.Length
		m.state[m.next] = fetching
		span = append(span, m.next)
	}
	return span
}

func (m *chunkMap) set(i int, s state) {
	m.mu.Lock()
	m.state[i] = s
	m.mu.Unlock()
}

func (m *chunkMap) get(i int) state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state[i]
}

// absentBytes returns the raw bytes that are still to be written or zeroed.
func (m *chunkMap) absentBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int64
	for i, s := range m.state {
		if s == absent {
			_, length := m.table.Extent(i)
			n += length
		}
	}
	return n
}
