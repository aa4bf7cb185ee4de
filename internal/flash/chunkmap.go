package flash

import (
	"context"
	"slices"
	"sync"

	"github.com/gild-dev/gild/internal/golden"
)

// state is how far a chunk has come.
type state uint8

const (
	unknown   state = iota // the disk may hold it: nobody has looked
	examining              // a reader is looking
	absent                 // not on the disk, or not worth looking
	fetching               // claimed by the worker that brings it
	landing                // its bytes are on their way to the disk
	written                // on the disk, or in its cache, or held in memory
	proving                // being read back, and before that perhaps written again
	wrong                  // read back other than written
	verified               // read from the medium and found right
	owned                  // written to by the system that runs from the disk
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
// next. A full flash, a resume and a delta differ only in what is unknown at
// the start and what turns out to be absent.
type chunkMap struct {
	table *golden.Table
	held  *heldChunks

	mu      sync.Mutex
	changed sync.Cond // a chunk changed its state, or a waiter is to give up
	state   []state
	urgent  []int // waited for by somebody, ahead of the rest
	ahead   []int // likely to be waited for soon
	open    int   // chunks unknown or being examined
	absent  int   // no absent data chunk lies before it
	zero    int   // no absent chunk of zeros lies before it
	look    int   // no unknown chunk lies before it
	zeroed  bool  // no zeroing is under way or to come
	brought bool  // all that was to be fetched has been claimed

	proof // proof.go

	// What a system that runs from the disk does to it: overwrite.go.
	over  map[int]*overwrite
	hurry []int  // to be proved now: somebody waits for that
	seen  bitmap // found right when the system read it, and not proved yet
	sees  bitmap // being looked at for that
}

// newChunkMap starts with everything absent, but for held chunks of zeros:
// those are zero in memory already.
func newChunkMap(t *golden.Table, held *heldChunks) *chunkMap {
	m := &chunkMap{table: t, held: held, state: make([]state, t.Len()), over: map[int]*overwrite{}, proof: newProof(t.Len()), seen: newBitmap(t.Len()), sees: newBitmap(t.Len())}
	m.changed.L = &m.mu
	for i := range m.state {
		m.state[i] = absent
		if t.Zero(i) && held.holds(i) {
			m.state[i] = written
		}
	}
	return m
}

// doubt makes every data chunk unknown that the disk may hold already.
func (m *chunkMap) doubt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.state {
		if (s == absent || s == verified) && !m.table.Zero(i) && !m.held.holds(i) {
			m.state[i] = unknown
			m.open++
		}
	}
}

// doubtNothing gives up looking: what is unknown is fetched.
func (m *chunkMap) doubtNothing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.state {
		if s == unknown {
			m.put(i, absent)
		}
	}
}

// doubtful reports whether a chunk is unknown.
func (m *chunkMap) doubtful() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open > 0
}

// await calls try until it says that it is done, or until ctx is, and sleeps
// between two calls until a state has changed. m.mu is held in try.
func (m *chunkMap) await(ctx context.Context, try func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if try() || ctx.Err() != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})
	defer stop()
	for ctx.Err() == nil {
		m.changed.Wait()
		if try() {
			return
		}
	}
}

// claim returns absent data chunks that are worth one request of up to about
// most compressed bytes, in blob order, now fetching. It waits while there are none but may be some later; none
// means that all are claimed or ctx is done.
func (m *chunkMap) claim(ctx context.Context, most int64) (span []int) {
	m.await(ctx, func() bool {
		if span = m.urgentSpan(); span == nil {
			span = m.nextSpan(most)
		}
		return span != nil || m.open == 0
	})
	return span
}

// claimUrgent returns a chunk that somebody waits for or soon will, now
// fetching, or examining if the disk may hold it. It waits while there is none;
// none means that all were claimed by others, or ctx is done.
func (m *chunkMap) claimUrgent(ctx context.Context) (span []int, look bool) {
	m.await(ctx, func() bool {
		for _, i := range m.urgent {
			if m.state[i] == unknown {
				m.state[i] = examining
				span, look = []int{i}, true
				return true
			}
		}
		span = m.urgentSpan()
		return span != nil || m.brought
	})
	return span, look
}

// urgentSpan claims the first chunk that somebody waits for, or soon will.
// A chunk of zeros needs a worker only where a system has written to it.
// m.mu is held.
func (m *chunkMap) urgentSpan() []int {
	for _, list := range [][]int{m.urgent, m.ahead} {
		for _, i := range list {
			if m.state[i] == absent && (!m.table.Zero(i) || m.over[i] != nil) {
				m.state[i] = fetching
				return []int{i}
			}
		}
	}
	return nil
}

// nextSpan claims from where the last claim ended, up to about most
// compressed bytes. m.mu is held.
func (m *chunkMap) nextSpan(most int64) (span []int) {
	var start, end int64
	for i := m.absent; i < len(m.state); i++ {
		if m.state[i] == unknown || m.state[i] == examining {
			if len(span) > 0 {
				break // it may be absent too: m.absent must not pass it
			}
			continue
		}
		if m.state[i] != absent || m.table.Zero(i) {
			continue
		}
		c := m.table.Chunk(i)
		if len(span) > 0 && (c.Offset-end > gapBytes || c.Offset+c.Length-start > most) {
			break
		}
		if len(span) == 0 {
			start = c.Offset
		}
		end = c.Offset + c.Length
		m.state[i] = fetching
		span = append(span, i)
	}
	if len(span) > 0 {
		m.absent = span[len(span)-1] + 1
	}
	return span
}

// giveBack leaves claimed chunks, of which nothing was done, to others.
func (m *chunkMap) giveBack(span []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range span {
		m.put(i, absent)
	}
}

// claimZeros returns a run of chunks of zeros that are not on the disk yet,
// now landing: the chunks from first up to but not including next. first ==
// next means that none is left. There is one caller, and it asks again when it
// has zeroed the run.
func (m *chunkMap) claimZeros(most int) (first, next int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := func(i int) bool {
		return i < len(m.state) && m.state[i] == absent && m.table.Zero(i) && m.over[i] == nil
	}
	for m.zero < len(m.state) && !wanted(m.zero) {
		m.zero++
	}
	first = m.zero
	for ; wanted(m.zero) && m.zero-first < most; m.zero++ {
		m.state[m.zero] = landing
	}
	m.zeroed = first == m.zero
	return first, m.zero
}

// claimMixed returns a chunk of zeros that a system has written to, now
// fetching. ok is false when none is left, once claimZeros has no more.
func (m *chunkMap) claimMixed() (i int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.over {
		if m.state[i] == absent && m.table.Zero(i) {
			m.state[i] = fetching
			return i, true
		}
	}
	return 0, false
}

// examine returns an unknown chunk for a reader to look at, urgent ones
// first. Of those that skip names none is looked at: they become absent.
func (m *chunkMap) examine(skip func() bool) (i int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.urgent {
		if m.state[i] == unknown {
			m.state[i] = examining
			return i, true
		}
	}
	for ; m.look < len(m.state); m.look++ {
		switch {
		case m.state[m.look] != unknown:
		case skip():
			m.put(m.look, absent)
		default:
			m.state[m.look] = examining
			return m.look, true
		}
	}
	return 0, false
}

// set says what became of a chunk.
func (m *chunkMap) set(i int, s state) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(i, s)
}

// put is set for those who hold m.mu.
func (m *chunkMap) put(i int, s state) {
	switch m.state[i] {
	case unknown, examining:
		m.open--
	case proving:
		m.proofs--
	}
	if s >= verified {
		s = m.settleOverwrite(i, s)
	}
	m.state[i] = s
	m.seen.put(i, false)
	switch s {
	case absent:
		m.absent = min(m.absent, i)
	case written:
		m.landed++
	case wrong:
		m.bad = append(m.bad, i)
	case verified:
		m.early.put(i, !m.zeroed)
	}
	m.changed.Broadcast()
}

func (m *chunkMap) get(i int) state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state[i]
}

// demand puts chunk i before all others and waits until it is on the disk, or
// held in memory for the seal. Chunks of zeros come in their turn: they are
// all there within moments.
func (m *chunkMap) demand(ctx context.Context, i int) error {
	m.mu.Lock()
	m.urgent = append(m.urgent, i)
	m.changed.Broadcast()
	m.mu.Unlock()
	done := false
	m.await(ctx, func() bool {
		done = m.state[i] >= written
		return done
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.Index(m.urgent, i) // others may wait for it too
	m.urgent = slices.Delete(m.urgent, at, at+1)
	if !done {
		return context.Cause(ctx)
	}
	return nil
}

// demanded reports whether somebody waits for chunk i, or soon will.
func (m *chunkMap) demanded(i int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.urgent, i) || slices.Contains(m.ahead, i)
}

// foresee says which chunks are likely to be demanded next.
func (m *chunkMap) foresee(chunks []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead = chunks
	m.changed.Broadcast()
}

// finish ends the waits of claimUrgent: nothing can be demanded any more that
// is not on its way.
func (m *chunkMap) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brought = true
	m.changed.Broadcast()
}

// unwritten returns the raw bytes that are not yet on the disk.
func (m *chunkMap) unwritten() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int64
	for i, s := range m.state {
		if s < written {
			_, length := m.table.Extent(i)
			n += length
		}
	}
	return n
}
