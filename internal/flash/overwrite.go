package flash

import (
	"context"
	"math/bits"
)

// A system that runs from the disk while the image still arrives sees it as if
// it had held the image from the start. What it reads comes from the medium
// only where that was proved, or where the system itself has written; what it
// writes goes to its place at once, and the image's bytes that come later are
// laid around it.

// overwrite is what a system has written to a chunk before the image's bytes
// are there.
type overwrite struct {
	sectors bitmap
	writing int  // writes under way
	closed  bool // the image's bytes are about to be laid: no more writes for now
}

// how says by what a read of a part of a chunk is answered.
type how int

const (
	notYet     how = iota // it has to be demanded
	asZeros               // it is zero in the image
	fromMedium            // what the medium holds is right
	asLanded              // it was written, and not proved to be there
)

// readable says by what sectors a to b of chunk i can be read. trusting means
// that what was written is as good as proved.
func (m *chunkMap) readable(i, a, b int, trusting bool) how {
	m.mu.Lock()
	defer m.mu.Unlock()
	over := m.over[i]
	switch s := m.state[i]; {
	case s >= verified || trusting && s == written:
		return fromMedium
	case s >= written && m.seen.has(i):
		return fromMedium
	case s >= written:
		return asLanded
	case over != nil && over.sectors.all(a, b):
		return fromMedium
	case m.table.Zero(i) && (over == nil || over.sectors.none(a, b)):
		return asZeros
	}
	return notYet
}

// beginWrite waits until a system may write to chunk i: not while its bytes
// land, and not before what has landed was proved, for nobody could tell
// afterwards which bytes were whose. The write may then take place, and
// endWrite must follow.
func (m *chunkMap) beginWrite(ctx context.Context, i, sectors int, trusting bool) error {
	begun := false
	m.await(ctx, func() bool {
		switch s := m.state[i]; {
		case s >= verified || trusting && s == written:
			m.state[i] = owned
		case s >= written:
			m.hasten(i)
			return false
		case s == landing:
			return false
		default:
			over := m.over[i]
			if over == nil {
				over = &overwrite{sectors: newBitmap(sectors)}
				m.over[i] = over
			}
			if over.closed {
				return false
			}
			over.writing++
		}
		begun = true
		return true
	})
	if !begun {
		return context.Cause(ctx)
	}
	return nil
}

// endWrite takes note of a write of sectors a to b of chunk i that beginWrite
// let through. It reports whether the chunk is now the system's own altogether,
// so that nothing of the image is missed in it any more.
func (m *chunkMap) endWrite(i, a, b int, ok bool) (whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	over := m.over[i]
	if over == nil {
		return false // the chunk was there
	}
	over.writing--
	if ok {
		over.sectors.set(a, b)
	}
	switch s := m.state[i]; {
	case over.writing > 0:
	case s >= written: // it was found on the disk meanwhile
		delete(m.over, i)
	case over.sectors.full() && (s == absent || s == unknown):
		m.put(i, owned)
		return true
	}
	m.changed.Broadcast()
	return false
}

// land waits until no write of a system is under way in chunk i and keeps new
// ones out until its state changes. It returns the sectors that are the
// system's own, nil for none.
func (m *chunkMap) land(ctx context.Context, i int) (own *bitmap, err error) {
	landed := false
	m.await(ctx, func() bool {
		over := m.over[i]
		if over != nil && over.writing > 0 {
			over.closed = true
			return false
		}
		if over != nil {
			own = &over.sectors
		}
		m.state[i] = landing
		landed = true
		return true
	})
	if !landed {
		return nil, context.Cause(ctx)
	}
	return own, nil
}

// settleOverwrite returns what a chunk is that was found to be right, or laid
// around what a system wrote: the system's own if it wrote to it. m.mu is held.
func (m *chunkMap) settleOverwrite(i int, s state) state {
	over := m.over[i]
	if over == nil {
		return s
	}
	if over.writing == 0 {
		delete(m.over, i)
	}
	return owned
}

// beginLook lets one reader at a time look at chunk i, which has landed. It
// reports false when the chunk has come further meanwhile, or ctx is done;
// otherwise endLook must follow.
func (m *chunkMap) beginLook(ctx context.Context, i int) (begun bool) {
	m.await(ctx, func() bool {
		if m.state[i] >= verified || m.seen.has(i) {
			return true
		}
		if m.sees.has(i) {
			return false
		}
		m.sees.put(i, true)
		begun = true
		return true
	})
	return begun
}

// endLook takes note of whether the medium held the right bytes of chunk i.
// That serves other reads; it proves nothing, for the disk's cache may have
// answered.
func (m *chunkMap) endLook(i int, right bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sees.put(i, false)
	m.seen.put(i, right && (m.state[i] == written || m.state[i] == proving))
	m.changed.Broadcast()
}

// bitmap is a set of the numbers below n.
type bitmap struct {
	n     int
	words []uint64
}

func newBitmap(n int) bitmap { return bitmap{n, make([]uint64, (n+63)/64)} }

func (b *bitmap) has(i int) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

func (b *bitmap) put(i int, in bool) {
	if in {
		b.set(i, i+1)
	} else {
		b.words[i/64] &^= 1 << (i % 64)
	}
}

func (b *bitmap) set(from, to int) {
	for i := from; i < to; i++ {
		b.words[i/64] |= 1 << (i % 64)
	}
}

func (b *bitmap) count() (n int) {
	for _, w := range b.words {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b *bitmap) full() bool { return b.count() == b.n }

func (b *bitmap) all(from, to int) bool { return b.run(from, true) >= to }

func (b *bitmap) none(from, to int) bool { return b.run(from, false) >= to }

// run returns where the run of numbers that are in the set, or are not, ends
// that begins at from.
func (b *bitmap) run(from int, in bool) int {
	for from < b.n && b.has(from) == in {
		from++
	}
	return from
}
