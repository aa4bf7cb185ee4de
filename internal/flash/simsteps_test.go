package flash

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/live"
)

// meanwhile lets something else happen within a call of the disk.
func (s *simulation) meanwhile() {
	if s.depth > 2 || s.rnd.IntN(3) > 0 {
		return
	}
	s.depth++
	defer func(mine int) { s.depth, s.mine = s.depth-1, mine }(s.mine)
	s.mine = 0
	s.step()
}

// step is one thing that happens.
func (s *simulation) step() {
	if s.serving {
		s.serves()
		return
	}
	switch s.rnd.IntN(10) {
	case 0, 1:
		s.systemReads()
	case 2, 3:
		s.systemWrites()
	case 4:
		s.fetches()
	case 5:
		s.looks()
	case 6:
		s.proves(s.f.chunks.Proofs.Unproved(1))
	default:
		s.serves()
	}
}

// serves is one thing that happens for those who wait, whatever else does not
// come on: the bringing of what is demanded, zeros, proofs and mending, and
// work that was begun.
func (s *simulation) serves() {
	switch s.rnd.IntN(7) {
	case 0:
		s.errand()
	case 1:
		s.zeroes()
	case 2:
		s.proves(s.f.chunks.Proofs.Hurried(s.ctx))
	case 3:
		s.mends()
	case 4:
		s.systemReads()
	case 5:
		s.systemWrites()
	default:
		s.resumes()
	}
}

// resumes continues with something that was begun.
func (s *simulation) resumes() {
	if len(s.parked) == 0 {
		return
	}
	k := s.rnd.IntN(len(s.parked))
	work := s.parked[k]
	s.parked = slices.Delete(s.parked, k, k+1)
	if !work() {
		s.parked = append(s.parked, work)
	}
}

func (s *simulation) fetches() {
	for _, i := range s.f.chunks.Work.Claim(s.ctx, int64(s.rnd.IntN(300))) {
		s.parked = append(s.parked, func() bool { return s.lands(i) })
	}
}

func (s *simulation) errand() {
	span, look := s.f.chunks.Work.ClaimUrgent(s.ctx)
	for _, i := range span {
		if look {
			s.looksAt(i)
		} else {
			s.parked = append(s.parked, func() bool { return s.lands(i) })
		}
	}
}

// lands brings a chunk that was fetched. The buffer is its own: others land
// meanwhile.
func (s *simulation) lands(i int) bool {
	off, n := s.table.Extent(i)
	return s.came(s.f.workers.place(s.ctx, i, bytes.Clone(s.image[off:off+n])))
}

// came reports whether work is done with. What only had to wait is not.
func (s *simulation) came(err error) bool {
	if errors.Is(err, ErrMedium) {
		s.broken = true
		return true
	}
	return err == nil
}

func (s *simulation) zeroes() {
	first, next := s.f.chunks.Work.ClaimZeros(1 + s.rnd.IntN(4))
	if first < next {
		s.parked = append(s.parked, func() bool { return s.came(s.f.workers.zeroRun(first, next)) })
		return
	}
	if i, ok := s.f.chunks.Work.ClaimMixed(); ok {
		s.parked = append(s.parked, func() bool { return s.lands(i) })
	}
}

func (s *simulation) looks() {
	i, ok := s.f.chunks.Work.ClaimLook(func() bool { return s.rnd.IntN(4) == 0 })
	if ok {
		s.looksAt(i)
	}
}

func (s *simulation) looksAt(i int) {
	right, _ := s.f.medium.holds(simReader{s.disk}, i, make([]byte, simChunk))
	s.parked = append(s.parked, func() bool {
		s.f.scout.found(i, right)
		return true
	})
}

// proves reads chunks back that were listed for that.
func (s *simulation) proves(chunks []int) {
	if s.f.job.Verify == VerifyOff {
		return
	}
	_ = s.disk.Flush()
	for _, i := range chunks {
		s.parked = append(s.parked, func() bool { return !s.f.chunks.Proofs.Begin(i) || s.proof(i) })
	}
}

// proof reads back a chunk that was claimed for that.
func (s *simulation) proof(i int) bool {
	right, _ := s.f.medium.holds(simReader{s.disk}, i, make([]byte, simChunk))
	return s.came(s.f.prover.proved(i, right)) || s.broken
}

// mends writes again what was read back wrong.
func (s *simulation) mends() {
	for _, i := range s.f.chunks.Proofs.ClaimWrong(s.ctx, false) {
		s.parked = append(s.parked, func() bool {
			off, n := s.table.Extent(i)
			_, _ = s.disk.WriteAt(s.image[off:off+n], off)
			_ = s.disk.Flush()
			s.parked = append(s.parked, func() bool { return s.proof(i) })
			return true
		})
	}
}

// span is a random range of whole sectors within one chunk.
func (s *simulation) span() (off, n int) {
	i := s.rnd.IntN(simChunks + 1)
	first := i * simChunkSectors
	last := min(first+simChunkSectors, len(s.model)/simSector)
	a := first + s.rnd.IntN(max(1, last-first))
	b := a + 1 + s.rnd.IntN(max(1, last-a))
	return a * simSector, (min(b, last) - a) * simSector
}

// overlaps reports whether the system is writing there already.
func (s *simulation) overlaps(off, n int) bool {
	return slices.ContainsFunc(s.busy, func(e blockdev.Extent) bool { return off < int(e.End()) && int(e.Offset) < off+n })
}

func (s *simulation) systemReads() {
	off, n := s.span()
	if n <= 0 || s.overlaps(off, n) {
		return
	}
	want := bytes.Clone(s.model[off : off+n])
	got := make([]byte, n)
	under := &reading{off: off, n: n}
	s.reads = append(s.reads, under)
	defer func() { s.reads = slices.DeleteFunc(s.reads, func(r *reading) bool { return r == under }) }()
	s.mine++ // no lies that nobody could find
	err := s.uses(func(l *live.Disk) error {
		_, err := l.ReadAt(got, int64(off))
		return err
	})
	s.mine--
	s.seen.reads++
	if err == nil && len(s.strayed) == 0 && !mixed(got, want, s.model[off:off+n]) {
		panic(fmt.Sprintf("the system read other bytes at %d (%d bytes) than it should, states %v", off, n, s.states()))
	}
}

// mixed reports whether each sector is that of a or that of b.
func mixed(got, a, b []byte) bool {
	for k := 0; k < len(got); k += simSector {
		g := got[k : k+simSector]
		if !bytes.Equal(g, a[k:k+simSector]) && !bytes.Equal(g, b[k:k+simSector]) {
			return false
		}
	}
	return true
}

func (s *simulation) systemWrites() {
	off, n := s.span()
	if n <= 0 || s.overlaps(off, n) {
		return
	}
	for _, r := range s.reads {
		if off < r.off+r.n && r.off < off+n {
			if r.overtaken {
				return
			}
			r.overtaken = true
		}
	}
	s.tag++
	p := bytes.Repeat([]byte{s.tag}, n)
	s.busy = append(s.busy, blockdev.Extent{Offset: int64(off), Data: p})
	s.mine++
	err := s.uses(func(l *live.Disk) error {
		_, err := l.WriteAt(p, int64(off))
		return err
	})
	s.mine--
	s.busy = slices.DeleteFunc(s.busy, func(e blockdev.Extent) bool { return int(e.Offset) == off })
	if err == nil {
		copy(s.model[off:], p)
		s.seen.writes++
	}
}
