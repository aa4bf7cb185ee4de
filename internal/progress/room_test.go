package progress

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// simulated is a machine of a room whose link is shared: what it does in half a
// second at a time.
type simulated struct {
	starts        time.Duration
	disk, read    float64 // bytes a second that it writes and reads
	follows       bool
	shrink        float64 // wire bytes of a data byte
	finish, start time.Duration
	c             Counts
	m             Meter
	phase         string
	doneAt        time.Duration // of the last byte
	shown         []shown
}

// shown is what an operator saw at a moment.
type shown struct {
	at      time.Duration
	percent int
	left    int
}

const simStep = 500 * time.Millisecond

// step gives the machine its share of the link, in bytes.
func (s *simulated) step(now time.Duration, share float64, noise *rand.Rand) {
	dt := simStep.Seconds()
	w := &s.c.Work
	switch s.phase {
	case "write":
		if w.Zeroed < w.Zeros {
			n := min(int64(900*mib*dt), w.Zeros-w.Zeroed)
			w.Zeroed += n
			s.c.Zeroing += simStep
		}
		// A link gives to each in bursts.
		burst := share * (0.4 + 1.2*noise.Float64())
		n := min(burst/s.shrink, s.disk*dt, float64(w.Data-w.Written))
		w.Written += int64(math.Ceil(n))
		s.c.Wire += int64(n * s.shrink)
		busy := n / (s.disk * dt)
		s.c.Writing += time.Duration(busy * float64(simStep))
		s.c.Waiting += time.Duration((1 - busy) * float64(simStep))
		if s.follows && w.Zeroed == w.Zeros {
			s.prove(min(64*mib, s.read*dt*0.8), w.Written-w.Proved > 64*mib || w.ProvedZeros < w.ProveZeros)
		}
		if w.Written >= w.Data {
			w.Written, s.phase = w.Data, "read back"
		}
	case "read back":
		s.prove(s.read*dt, true)
		if w.Proved >= w.Prove && w.ProvedZeros >= w.ProveZeros {
			s.phase, s.doneAt = "seal", now
		}
	}
}

// prove reads back what is there, zeros four times as fast.
func (s *simulated) prove(bytes float64, begin bool) {
	if !begin {
		return
	}
	w := &s.c.Work
	s.c.Readers = 4
	if n := min(int64(4*bytes), w.ProveZeros-w.ProvedZeros); n > 0 {
		w.ProvedZeros += n
		s.c.ReadZeros += n
		s.c.ReadingZero += 4 * simStep * time.Duration(n) / time.Duration(4*bytes)
		return
	}
	n := min(int64(bytes), w.Written-w.Proved)
	w.Proved += n
	s.c.Read += n
	s.c.Reading += 4 * simStep * time.Duration(n) / time.Duration(max(bytes, 1))
	s.c.Proving += simStep
}

func (s *simulated) running() time.Duration { return s.doneAt + s.finish + s.start }

// A room of 140 machines on a link of 120 Mbit/s: from 20 percent on, what is
// shown as time to running is never off by more than a quarter of what remains.
func TestRoomOfManyMachines(t *testing.T) {
	for seed := range uint64(2) {
		noise := rand.New(rand.NewPCG(seed, 140))
		between := func(a, b float64) float64 { return a + (b-a)*noise.Float64() }
		seconds := func(a, b float64) time.Duration { return time.Duration(between(a, b) * float64(time.Second)) }
		usual := Usual{Finish: 2 * time.Second, Start: 45 * time.Second}
		var room []*simulated
		for range 140 {
			s := &simulated{
				starts: seconds(0, 90), disk: between(40, 400) * mib, read: between(60, 500) * mib,
				follows: true, shrink: between(0.29, 0.33), finish: seconds(1, 3), start: seconds(40, 50), phase: "write",
			}
			data := int64(between(690, 700) * mib)
			s.c.Work = Work{Data: data, Zeros: 1354 * mib, Prove: data, ProveZeros: 1354 * mib}
			room = append(room, s)
		}
		simulate(t, room, usual, 120e6/8, noise)
		judge(t, seed, room)
	}
}

// One machine whose disk is the brake: nothing is read back while it is
// written.
func TestSlowDiskAlone(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	s := &simulated{disk: 9 * mib, read: 8 * mib, shrink: 0.3, finish: time.Second, start: 44 * time.Second, phase: "write"}
	s.c.Work = Work{Data: 694 * mib, Zeros: 1354 * mib, Prove: 694 * mib, ProveZeros: 1354 * mib}
	simulate(t, []*simulated{s}, Usual{Finish: time.Second, Start: 45 * time.Second, Read: 9 * mib, ReadZeros: 30 * mib}, 125e6, noise)
	judge(t, 0, []*simulated{s})
	if w := s.m.work(s.c); w.Brake != BrakeDisk {
		t.Errorf("the brake is %q; want %q", w.Brake, BrakeDisk)
	}
}

// simulate runs the room until all of it runs, and notes every two seconds what
// is shown of each machine.
func simulate(t *testing.T, room []*simulated, usual Usual, link float64, noise *rand.Rand) {
	t.Helper()
	start := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	for now := time.Duration(0); ; now += simStep {
		if now > 12*time.Hour {
			t.Fatal("the room does not come to its end")
		}
		fetching, ended := 0, 0
		for _, s := range room {
			if now >= s.starts && s.phase == "write" {
				fetching++
			}
			if s.doneAt > 0 && now >= s.running() {
				ended++
			}
		}
		if ended == len(room) {
			return
		}
		works := make([]*Work, len(room))
		for i, s := range room {
			if w := s.m.work(s.c); s.phase == "write" {
				works[i] = &w
			}
		}
		ease := make([]float64, len(room))
		if now%(2*time.Second) == 0 {
			ease = Ease(works)
		}
		for i, s := range room {
			if now < s.starts || s.doneAt > 0 && now >= s.running() {
				continue
			}
			s.step(now, link/float64(max(fetching, 1))*simStep.Seconds(), noise)
			w := s.m.At(start.Add(now), s.c)
			if now%(2*time.Second) != 0 {
				continue
			}
			f := Facts{Phase: s.phase, Work: &w, Ease: ease[i], Usual: usual}
			if s.doneAt > 0 && now > s.doneAt+s.finish {
				f.Left = now - s.doneAt - s.finish
			}
			e := Of(f)
			s.shown = append(s.shown, shown{now, e.Percent, e.Left})
		}
	}
}

// judge compares what was shown with what came. Less than ten seconds are all
// shown alike, so that much cannot be told apart.
func judge(t *testing.T, seed uint64, room []*simulated) {
	t.Helper()
	const grain = 10
	worst, known := 0.0, 0
	for i, s := range room {
		for _, at := range s.shown {
			if at.percent < 20 {
				continue
			}
			remains := (s.running() - at.at).Seconds()
			if at.left == 0 {
				if at.percent < 100 {
					t.Errorf("seed %d, machine %d at %v, %d %%: no time is shown", seed, i, at.at, at.percent)
				}
				continue
			}
			known++
			off := math.Abs(float64(at.left) - remains)
			worst = max(worst, (off-grain)/remains)
			if off > max(0.25*remains, grain) {
				t.Errorf("seed %d, machine %d at %v, %d %%: %d s are shown, %.0f s remain", seed, i, at.at, at.percent, at.left, remains)
				break
			}
		}
	}
	if known < 20*len(room) {
		t.Errorf("seed %d: a time was shown %d times: too seldom to judge", seed, known)
	}
	t.Logf("seed %d: worst %.0f %% of what remained, over the grain of %d s; last done after %v", seed, 100*worst, grain,
		room[len(room)-1].running().Round(time.Second))
}
