package chunks

import (
	"context"
	"slices"
)

// SpanBytes is about how many compressed bytes one request is worth: long
// enough that a request costs nothing, short enough that the workers finish
// together.
const SpanBytes = 4 << 20

// GapBytes is how long a gap of unwanted frames may be that is read and
// dropped, which is cheaper than another request.
const GapBytes = 64 << 10

// Work hands out what is to be looked for, fetched and zeroed.
type Work struct {
	m       *Map
	urgent  []int // waited for by somebody, ahead of the rest
	ahead   []int // likely to be waited for soon
	open    int   // chunks unknown or being examined
	absent  int   // no absent data chunk lies before it
	zero    int   // no absent chunk of zeros lies before it
	look    int   // no unknown chunk lies before it
	zeroed  bool  // no zeroing is under way or to come
	brought bool  // all that was to be fetched has been claimed
}

// moved keeps count. m.mu is held.
func (w *Work) moved(i int, from, to State) {
	if from.looking() {
		w.open--
	}
	if to.looking() {
		w.open++
	}
	if to == Absent {
		w.absent = min(w.absent, i)
	}
}

// Doubt makes every data chunk unknown that the disk may hold already.
func (w *Work) Doubt() {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.state {
		if (s == Absent || s == Verified) && !m.table.Zero(i) && !m.held(i) {
			m.move(i, Unknown)
		}
	}
}

// DoubtNothing gives up looking: what is unknown is fetched.
func (w *Work) DoubtNothing() {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.state {
		if s == Unknown {
			m.move(i, Absent)
		}
	}
}

// Doubtful reports whether a chunk is unknown or being looked at.
func (w *Work) Doubtful() bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.open > 0
}

// ClaimLook returns an unknown chunk for a reader to look at, urgent ones
// first; Found must follow. Of those that skip names none is looked at: they
// become absent.
func (w *Work) ClaimLook(skip func() bool) (i int, ok bool) {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range w.urgent {
		if m.state[i] == Unknown {
			m.move(i, Examining)
			return i, true
		}
	}
	for ; w.look < len(m.state); w.look++ {
		switch {
		case m.state[w.look] != Unknown:
		case skip():
			m.move(w.look, Absent)
		default:
			m.move(w.look, Examining)
			return w.look, true
		}
	}
	return 0, false
}

// Found takes note of what a look at chunk i's place on the disk gave.
func (w *Work) Found(i int, right bool) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if right {
		w.m.move(i, Verified)
	} else {
		w.m.move(i, Absent)
	}
}

// Claim returns absent data chunks that are worth one request of up to about
// most compressed bytes, in blob order, now fetching. It waits while there are
// none but may be some later; none means that all are claimed or ctx is done.
func (w *Work) Claim(ctx context.Context, most int64) (span []int) {
	w.m.await(ctx, func() bool {
		if span = w.urgentSpan(); span == nil {
			span = w.nextSpan(most)
		}
		return span != nil || w.open == 0
	})
	return span
}

// ClaimUrgent returns a chunk that somebody waits for or soon will, now
// fetching, or examining if the disk may hold it. It waits while there is none;
// none means that all were claimed by others, or ctx is done.
func (w *Work) ClaimUrgent(ctx context.Context) (span []int, look bool) {
	w.m.await(ctx, func() bool {
		for _, i := range w.urgent {
			if w.m.state[i] == Unknown {
				w.m.move(i, Examining)
				span, look = []int{i}, true
				return true
			}
		}
		span = w.urgentSpan()
		return span != nil || w.brought
	})
	return span, look
}

// urgentSpan claims the first chunk that somebody waits for, or soon will.
// A chunk of zeros needs a worker only where a system has written to it.
// m.mu is held.
func (w *Work) urgentSpan() []int {
	for _, list := range [][]int{w.urgent, w.ahead} {
		for _, i := range list {
			if w.m.state[i] == Absent && (!w.m.table.Zero(i) || w.m.System.over[i] != nil) {
				w.m.move(i, Fetching)
				return []int{i}
			}
		}
	}
	return nil
}

// nextSpan claims from where the last claim ended, up to about most
// compressed bytes. m.mu is held.
func (w *Work) nextSpan(most int64) (span []int) {
	m := w.m
	var start, end int64
	for i := w.absent; i < len(m.state); i++ {
		if m.state[i].looking() {
			if len(span) > 0 {
				break // it may be absent too: w.absent must not pass it
			}
			continue
		}
		if m.state[i] != Absent || m.table.Zero(i) {
			continue
		}
		c := m.table.Chunk(i)
		if len(span) > 0 && (c.Offset-end > GapBytes || c.Offset+c.Length-start > most) {
			break
		}
		if len(span) == 0 {
			start = c.Offset
		}
		end = c.Offset + c.Length
		m.move(i, Fetching)
		span = append(span, i)
	}
	if len(span) > 0 {
		w.absent = span[len(span)-1] + 1
	}
	return span
}

// GiveBack leaves claimed chunks, of which nothing was done, to others.
func (w *Work) GiveBack(span []int) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for _, i := range span {
		w.m.move(i, Absent)
	}
}

// ClaimZeros returns a run of chunks of zeros that are not on the disk yet,
// now landing: the chunks from first up to but not including next. first ==
// next means that none is left. There is one caller, and it asks again when it
// has zeroed the run.
func (w *Work) ClaimZeros(most int) (first, next int) {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := func(i int) bool {
		return i < len(m.state) && m.state[i] == Absent && m.table.Zero(i) && m.System.over[i] == nil
	}
	for w.zero < len(m.state) && !wanted(w.zero) {
		w.zero++
	}
	first = w.zero
	for ; wanted(w.zero) && w.zero-first < most; w.zero++ {
		m.move(w.zero, Landing)
	}
	w.zeroed = first == w.zero
	return first, w.zero
}

// ClaimMixed returns a chunk of zeros that a system has written to, now
// fetching. ok is false when none is left, once ClaimZeros has no more.
func (w *Work) ClaimMixed() (i int, ok bool) {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.System.over {
		if m.state[i] == Absent && m.table.Zero(i) {
			m.move(i, Fetching)
			return i, true
		}
	}
	return 0, false
}

// Landed takes note of a claimed chunk that is on the disk, or held in memory.
func (w *Work) Landed(i int) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.move(i, Written)
}

// Demand puts chunk i before all others and waits until it is on the disk, or
// held in memory for the seal. Chunks of zeros come in their turn: they are
// all there within moments.
func (w *Work) Demand(ctx context.Context, i int) error {
	m := w.m
	m.mu.Lock()
	w.urgent = append(w.urgent, i)
	m.changed.Broadcast()
	m.mu.Unlock()
	done := false
	m.await(ctx, func() bool {
		done = m.state[i] >= Written
		return done
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.Index(w.urgent, i) // others may wait for it too
	w.urgent = slices.Delete(w.urgent, at, at+1)
	if !done {
		return context.Cause(ctx)
	}
	return nil
}

// Demanded reports whether somebody waits for chunk i, or soon will.
func (w *Work) Demanded(i int) bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return slices.Contains(w.urgent, i) || slices.Contains(w.ahead, i)
}

// Foresee says which chunks are likely to be demanded next.
func (w *Work) Foresee(chunks []int) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.ahead = chunks
	w.m.changed.Broadcast()
}

// Finish ends the waits of ClaimUrgent: nothing can be demanded any more that
// is not on its way.
func (w *Work) Finish() {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.brought = true
	w.m.changed.Broadcast()
}
