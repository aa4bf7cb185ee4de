package chunks

import (
	"context"
	"slices"
)

// Proofs hands out what is to be read back, and what to be mended. A chunk that
// has landed is proved by one prover at a time, whoever comes first: the
// read-back, those who follow the arriving chunks, or those whom a running
// system waits for. What is wrong is mended by one mender at a time, and nobody
// else writes to it before it was proved.
type Proofs struct {
	m      *Map
	landed int    // chunks written and not yet listed by Unproved
	proofs int    // chunks proving
	bad    []int  // chunks wrong
	hurry  []int  // to be proved now: somebody waits for that
	ever   bitmap // chunks that have been wrong
	astray bool   // a write has gone wrong since TakeAstray: it may have hit anything
	early  bitmap // proved while something was still being zeroed
	// dismissed says that no system waits for proofs any more.
	dismissed bool
}

// moved keeps count. m.mu is held.
func (p *Proofs) moved(i int, from, to State) {
	if from == Proving {
		p.proofs--
	}
	switch to {
	case Written:
		p.landed++
	case Proving:
		p.proofs++
	case Wrong:
		p.bad = append(p.bad, i)
	case Verified:
		p.early.put(i, !p.m.Work.zeroed)
	}
}

// Final reports whether chunk i was proved for good.
func (p *Proofs) Final(i int) bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.m.state[i] == Verified && !p.early.has(i)
}

// Unproved lists the chunks that were written, held ones aside, as soon as
// there are least that were not listed before. There are none while there is
// zeroing: a zeroing that goes astray shows only in what it hits, and that must
// not have been looked at before.
func (p *Proofs) Unproved(least int) (chunks []int) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.landed < least || !p.m.Work.zeroed {
		return nil
	}
	p.landed = 0
	for i, s := range p.m.state {
		if s == Written && !p.m.held(i) {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// hasten has chunk i proved before others, because somebody waits for that. If
// it is already being proved, or mended, that is as good. m.mu is held.
func (p *Proofs) hasten(i int) {
	if p.m.state[i] == Written && !slices.Contains(p.hurry, i) {
		p.hurry = append(p.hurry, i)
		p.m.changed.Broadcast()
	}
}

// Hurried lists chunks whose proof somebody waits for, with some of those that
// follow each: where one was written to, the next often is too. It waits while
// there are none; none means that nobody will wait any more, or ctx is done.
func (p *Proofs) Hurried(ctx context.Context) (chunks []int) {
	const follow = 32
	m := p.m
	m.await(ctx, func() bool {
		for _, first := range p.hurry {
			for i := first; i < min(first+follow, len(m.state)); i++ {
				if m.state[i] == Written && !m.held(i) && !slices.Contains(chunks, i) {
					chunks = append(chunks, i)
				}
			}
		}
		p.hurry = p.hurry[:0]
		return len(chunks) > 0 || p.dismissed
	})
	return chunks
}

// Wait waits until chunk i was proved.
func (p *Proofs) Wait(ctx context.Context, i int) error {
	done := false
	p.m.await(ctx, func() bool {
		if done = p.m.state[i] >= Verified; !done {
			p.hasten(i)
		}
		return done
	})
	if !done {
		return context.Cause(ctx)
	}
	return nil
}

// Begin claims chunk i, which is on the disk, for one prover, unless it was
// proved or another has it. Proved must follow where it reports true.
func (p *Proofs) Begin(i int) bool { return p.claim(i, false) }

// BeginAgain is Begin also for what was proved before. Until Proved follows, a
// system continues to read it, and does not write to it.
func (p *Proofs) BeginAgain(i int) bool { return p.claim(i, true) }

func (p *Proofs) claim(i int, again bool) bool {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s := m.state[i]; {
	case s == Verified && again:
		m.System.seen.put(i, true)
	case s != Written:
		return false
	}
	m.move(i, Proving)
	return true
}

// Proved takes note of what chunk i read back as. again says that it was wrong
// and had been so before: that is the disk's last word.
func (p *Proofs) Proved(i int, right bool) (again bool) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if right {
		p.m.move(i, Verified)
		return false
	}
	again = p.ever.has(i)
	p.ever.put(i, true)
	p.astray = true
	p.m.move(i, Wrong)
	return again
}

// ClaimWrong returns the chunks that read back wrong, for one mender to write
// again and to prove. It waits while others prove some, which may turn out to
// be wrong too; lasting, it waits until no system waits for proofs any more.
// None means that nothing is wrong, or ctx is done.
func (p *Proofs) ClaimWrong(ctx context.Context, lasting bool) (chunks []int) {
	p.m.await(ctx, func() bool {
		chunks, p.bad = p.bad, nil
		for _, i := range chunks {
			p.m.move(i, Proving)
		}
		return len(chunks) > 0 || p.proofs == 0 && (!lasting || p.dismissed)
	})
	return chunks
}

// Dismiss says that no system waits for proofs any more.
func (p *Proofs) Dismiss() {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.dismissed = true
	p.m.changed.Broadcast()
}

// Strayed takes note of a write that has gone wrong.
func (p *Proofs) Strayed() {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.astray = true
}

// TakeAstray reports whether a write has gone wrong since it was called last.
func (p *Proofs) TakeAstray() bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	astray := p.astray
	p.astray = false
	return astray
}
