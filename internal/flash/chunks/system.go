package chunks

import "context"

// System is what a system does to the disk that runs from it while the image
// still arrives. It sees the disk as if that had held the image from the start.
// What it reads comes from the medium only where that was proved, or where the
// system itself has written; what it writes goes to its place at once, and the
// image's bytes that come later are laid around it.
type System struct {
	m    *Map
	over map[int]*overwrite
	seen bitmap // found right when the system read it, and not proved yet
	sees bitmap // being looked at for that
}

// overwrite is what a system has written to a chunk before the image's bytes
// are there.
type overwrite struct {
	sectors bitmap
	writing int  // writes under way
	closed  bool // the image's bytes are about to be laid: no more writes for now
}

// moved forgets what was seen of a chunk that has changed. m.mu is held.
func (s *System) moved(i int, to State) {
	if to != Proving { // its bytes stay until they were found wrong
		s.seen.put(i, false)
	}
}

// settle returns what a chunk is that was found to be right, or laid around
// what a system wrote: the system's own if it wrote to it. m.mu is held.
func (s *System) settle(i int, to State) State {
	over := s.over[i]
	if over == nil {
		return to
	}
	if over.writing == 0 {
		delete(s.over, i)
	}
	return Owned
}

// Answer says by what a read of a part of a chunk is answered.
type Answer int

// The answers.
const (
	NotYet Answer = iota // it has to be demanded
	Zeros                // it is zero in the image
	Medium               // what the medium holds is right
	Landed               // it was written, and not proved to be there
)

// Readable says by what sectors a to b of chunk i can be read. trusting means
// that what was written is as good as proved.
func (s *System) Readable(i, a, b int, trusting bool) Answer {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	over := s.over[i]
	switch st := m.state[i]; {
	case st >= Verified || trusting && st == Written:
		return Medium
	case st >= Written && s.seen.has(i):
		return Medium
	case st >= Written:
		return Landed
	case over != nil && over.sectors.all(a, b):
		return Medium
	case m.table.Zero(i) && (over == nil || over.sectors.none(a, b)):
		return Zeros
	}
	return NotYet
}

// BeginWrite waits until a system may write to chunk i: not while its bytes
// land, and not before what has landed was proved, for nobody could tell
// afterwards which bytes were whose. The write may then take place, and
// EndWrite must follow.
func (s *System) BeginWrite(ctx context.Context, i, sectors int, trusting bool) error {
	m := s.m
	begun := false
	m.await(ctx, func() bool {
		switch st := m.state[i]; {
		case st == Owned:
		case st == Verified || trusting && st == Written:
			m.move(i, Owned)
		case st >= Written:
			m.Proofs.hasten(i)
			return false
		case st == Landing:
			return false
		default:
			over := s.over[i]
			if over == nil {
				over = &overwrite{sectors: newBitmap(sectors)}
				s.over[i] = over
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

// EndWrite takes note of a write of sectors a to b of chunk i that BeginWrite
// let through. It reports whether the chunk is now the system's own altogether,
// so that nothing of the image is missed in it any more.
func (s *System) EndWrite(i, a, b int, ok bool) (whole bool) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	over := s.over[i]
	if over == nil {
		return false // the chunk was there
	}
	over.writing--
	if ok {
		over.sectors.set(a, b)
	}
	switch st := m.state[i]; {
	case over.writing > 0:
	case st >= Written: // it was found on the disk meanwhile
		delete(s.over, i)
	case over.sectors.full() && (st == Absent || st == Unknown):
		m.move(i, Owned)
		return true
	}
	m.changed.Broadcast()
	return false
}

// Land waits until no write of a system is under way in chunk i and keeps new
// ones out until its state changes. own reports whether a sector is the
// system's; it is nil where none is, and then Landed must follow, else
// LaidAround.
func (s *System) Land(ctx context.Context, i int) (own *Sectors, err error) {
	m := s.m
	landed := false
	m.await(ctx, func() bool {
		over := s.over[i]
		if over != nil && over.writing > 0 {
			over.closed = true
			return false
		}
		if over != nil {
			own = &Sectors{&over.sectors}
		}
		m.move(i, Landing)
		landed = true
		return true
	})
	if !landed {
		return nil, context.Cause(ctx)
	}
	return own, nil
}

// LaidAround takes note of a chunk that is on the disk but for what a system
// wrote there.
func (s *System) LaidAround(i int) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.move(i, Owned)
}

// BeginLook lets one reader at a time look at chunk i, which has landed. It
// reports false when the chunk has come further meanwhile, or ctx is done;
// otherwise EndLook must follow.
func (s *System) BeginLook(ctx context.Context, i int) (begun bool) {
	s.m.await(ctx, func() bool {
		if s.m.state[i] >= Verified || s.seen.has(i) {
			return true
		}
		if s.sees.has(i) {
			return false
		}
		s.sees.put(i, true)
		begun = true
		return true
	})
	return begun
}

// EndLook takes note of whether the medium held the right bytes of chunk i.
// That serves other reads; it proves nothing, for the disk's cache may have
// answered.
func (s *System) EndLook(i int, right bool) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	s.sees.put(i, false)
	s.seen.put(i, right && (m.state[i] == Written || m.state[i] == Proving))
	m.changed.Broadcast()
}
