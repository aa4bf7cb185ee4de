package flash

import (
	"context"
	"slices"
)

// A chunk that has landed is proved by one prover at a time, whoever comes first:
// the read-back, those who follow the arriving chunks, or those whom a running
// system waits for. What is wrong is mended by one mender at a time, and nobody
// else writes to it before it was proved.

// proof is what a chunk map knows of the read-back.
type proof struct {
	landed int    // chunks written and not yet listed by landing
	proofs int    // chunks proving
	bad    []int  // chunks wrong
	ever   bitmap // chunks that have been wrong
	astray bool   // a write has gone wrong since takeAstray: it may have hit anything
	early  bitmap // proved while something was still being zeroed
	// dismissed says that no system waits for proofs any more.
	dismissed bool
}

func newProof(chunks int) proof { return proof{ever: newBitmap(chunks), early: newBitmap(chunks)} }

// isProved reports whether chunk i was proved for good.
func (m *chunkMap) isProved(i int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state[i] == verified && !m.early.has(i)
}

// landing lists the chunks that were written, held ones aside, as soon as there
// are least that were not listed before. There are none while there is zeroing:
// see writeAll.
func (m *chunkMap) landing(least int) (chunks []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.landed < least || !m.zeroed {
		return nil
	}
	m.landed = 0
	for i, s := range m.state {
		if s == written && !m.held.holds(i) {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// hasten has chunk i proved before others, because somebody waits for that. If
// it is already being proved, or mended, that is as good. m.mu is held.
func (m *chunkMap) hasten(i int) {
	if m.state[i] == written && !slices.Contains(m.hurry, i) {
		m.hurry = append(m.hurry, i)
		m.changed.Broadcast()
	}
}

// hurried lists chunks whose proof somebody waits for, with some of those that
// follow each: where one was written to, the next often is too. It waits while
// there are none; none means that nobody will wait any more, or ctx is done.
func (m *chunkMap) hurried(ctx context.Context) (chunks []int) {
	const follow = 32
	m.await(ctx, func() bool {
		for _, first := range m.hurry {
			for i := first; i < min(first+follow, len(m.state)); i++ {
				if m.state[i] == written && !m.held.holds(i) && !slices.Contains(chunks, i) {
					chunks = append(chunks, i)
				}
			}
		}
		m.hurry = m.hurry[:0]
		return len(chunks) > 0 || m.dismissed
	})
	return chunks
}

// waitProved waits until chunk i was proved.
func (m *chunkMap) waitProved(ctx context.Context, i int) error {
	done := false
	m.await(ctx, func() bool {
		if done = m.state[i] >= verified; !done {
			m.hasten(i)
		}
		return done
	})
	if !done {
		return context.Cause(ctx)
	}
	return nil
}

// beginProof claims chunk i, which is on the disk, for one prover, unless it was
// proved or another has it. proved must follow where it reports true.
func (m *chunkMap) beginProof(i int) bool { return m.claimProof(i, false) }

// beginProofAgain is beginProof also for what was proved before. Until it is
// told of, a system goes on to read it, and does not write to it.
func (m *chunkMap) beginProofAgain(i int) bool { return m.claimProof(i, true) }

func (m *chunkMap) claimProof(i int, again bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s := m.state[i]; {
	case s == verified && again:
		m.seen.put(i, true)
	case s != written:
		return false
	}
	m.state[i] = proving
	m.proofs++
	return true
}

// proved takes note of what chunk i read back as. again says that it was wrong
// and had been so before: that is the disk's last word.
func (m *chunkMap) proved(i int, right bool) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if right {
		m.put(i, verified)
		return false
	}
	again = m.ever.has(i)
	m.ever.put(i, true)
	m.astray = true
	m.put(i, wrong)
	return again
}

// claimWrong returns the chunks that read back wrong, for one mender to write
// again and to prove. It waits while others prove some, which may turn out to be
// wrong too; lasting, it waits until no system waits for proofs any more. None
// means that nothing is wrong, or ctx is done.
func (m *chunkMap) claimWrong(ctx context.Context, lasting bool) (chunks []int) {
	m.await(ctx, func() bool {
		chunks, m.bad = m.bad, nil
		for _, i := range chunks {
			m.state[i] = proving
		}
		m.proofs += len(chunks)
		return len(chunks) > 0 || m.proofs == 0 && (!lasting || m.dismissed)
	})
	return chunks
}

// dismiss says that no system waits for proofs any more.
func (m *chunkMap) dismiss() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dismissed = true
	m.changed.Broadcast()
}

// strayed takes note of a write that has gone wrong.
func (m *chunkMap) strayed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.astray = true
}

// takeAstray reports whether a write has gone wrong since it was called last.
func (m *chunkMap) takeAstray() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	astray := m.astray
	m.astray = false
	return astray
}
