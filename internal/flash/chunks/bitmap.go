package chunks

import (
	"iter"
	"math/bits"
)

// Sectors are those of a landing chunk that are the system's own. They do not
// change until the chunk has landed.
type Sectors struct{ own *bitmap }

// Others yields each run of sectors that are not the system's own: from the
// first up to but not including the second.
func (s Sectors) Others() iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for from := s.own.run(0, true); from < s.own.n; {
			to := s.own.run(from, false)
			if !yield(from, to) {
				return
			}
			from = s.own.run(to, true)
		}
	}
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
