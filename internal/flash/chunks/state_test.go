package chunks

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
)

// What the table promises, whatever the code does with it.
func TestMoves(t *testing.T) {
	leads := func(from, to State) bool { return moves[from][to] != "" }
	ways := func(which func(from, to State) bool) (n int) {
		for from := range State(states) {
			for to := range State(states) {
				if leads(from, to) && which(from, to) {
					n++
					t.Logf("%v to %v: %s", from, to, moves[from][to])
				}
			}
		}
		return n
	}
	for what, never := range map[string]func(from, to State) bool{
		"nothing takes from a system what it wrote": func(from, _ State) bool { return from == Owned },
		"nothing counts as verified that was not read": func(from,
			to State,
		) bool {
			return to == Verified && from != Proving && !from.looking()
		},
		"what is wrong is right only after it was read again": func(from, to State) bool { return from == Wrong && to != Proving },
		"what lands comes to its end":                         func(from, to State) bool { return from == Landing && to < Written },
		"nothing that was written is fetched anew": func(from,
			to State,
		) bool {
			return from >= Written && to > Examining && to < Written
		},
		"a state is no change of itself": func(from, to State) bool { return from == to },
	} {
		if n := ways(never); n > 0 {
			t.Errorf("%s, but for %d moves", what, n)
		}
	}
	// From every state but one there is a way to a chunk that is done with.
	done := map[State]bool{Verified: true, Owned: true}
	for range states {
		ways(func(from, to State) bool {
			done[from] = done[from] || done[to]
			return false
		})
	}
	for s := range State(states) {
		if !done[s] {
			t.Errorf("no way leads from %v to a chunk that is done with", s)
		}
	}
}

// A move that is not in the table is not made.
func TestOtherMovesAreRefused(t *testing.T) {
	for name, wrong := range map[string]func(m *Map){
		"landed without a claim, twice": func(m *Map) { m.Work.Landed(0); m.Work.Landed(0) },
		"proved without a claim":        func(m *Map) { m.Proofs.Proved(0, true) },
		"given back without a claim":    func(m *Map) { m.Work.GiveBack([]int{0}) },
		"laid around nothing":           func(m *Map) { m.System.LaidAround(1); m.System.LaidAround(1) },
		"found what a worker brings": func(m *Map) {
			m.Work.Claim(context.Background(), 1)
			m.Work.Found(0, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.Contains(text, "nothing leads from") {
					t.Errorf("it went well, or failed for another reason: %v", text)
				}
			}()
			wrong(New(newTable(t, "dz"), nothingHeld))
		})
	}
}

// driver does to a map, at random, what workers, readers, provers and a system
// do, each keeping to what it was handed.
type driver struct {
	t       *testing.T
	rnd     *rand.Rand
	m       *Map
	under   []func() // work that was begun
	claimed map[int]string
	writes  int
}

// claim takes note that somebody has chunk i, whom nobody else may join.
func (d *driver) claim(i int, as string) {
	if was := d.claimed[i]; was != "" {
		d.t.Errorf("chunk %d was handed out for %s while it is out for %s", i, as, was)
	}
	d.claimed[i] = as
}

// later ends the work on chunk i.
func (d *driver) later(i int, as string, do func()) {
	d.claim(i, as)
	d.under = append(d.under, func() {
		delete(d.claimed, i)
		do()
	})
}

func (d *driver) bring(i int) {
	if d.m.held(i) {
		d.m.Work.Landed(i)
		return
	}
	own, err := d.m.System.Land(ended, i)
	switch {
	case err != nil: // a write of the system is under way
		d.later(i, "landing later", func() { d.bring(i) })
	case own == nil:
		d.later(i, "landing", func() { d.m.Work.Landed(i) })
	default:
		d.later(i, "landing", func() { d.m.System.LaidAround(i) })
	}
}

func (d *driver) prove(i int) {
	d.later(i, "proving", func() { d.m.Proofs.Proved(i, d.rnd.IntN(4) > 0) })
}

func (d *driver) look(i int) {
	d.later(i, "looking", func() { d.m.Work.Found(i, d.rnd.IntN(2) == 0) })
}

func (d *driver) write(i int, trusting bool) {
	if err := d.m.System.BeginWrite(ended, i, sectors, trusting); err != nil {
		return
	}
	d.writes++
	a := d.rnd.IntN(sectors)
	b := a + 1 + d.rnd.IntN(sectors-a)
	d.under = append(d.under, func() {
		d.writes--
		d.m.System.EndWrite(i, a, b, d.rnd.IntN(8) > 0)
	})
}

func (d *driver) step(trusting bool) {
	w, p := d.m.Work, d.m.Proofs
	switch d.rnd.IntN(9) {
	case 0:
		for _, i := range w.Claim(ended, d.rnd.Int64N(3000)) {
			if d.rnd.IntN(8) == 0 {
				w.GiveBack([]int{i})
			} else {
				d.later(i, "fetching", func() { d.bring(i) })
			}
		}
	case 1:
		if i, ok := w.ClaimLook(func() bool { return d.rnd.IntN(3) == 0 }); ok {
			d.look(i)
		}
	case 2:
		if first, next := w.ClaimZeros(2); first < next {
			for i := first; i < next; i++ {
				d.later(i, "zeroing", func() { d.m.Work.Landed(i) })
			}
		} else if i, ok := w.ClaimMixed(); ok {
			d.later(i, "fetching", func() { d.bring(i) })
		}
	case 3:
		for _, i := range p.ClaimWrong(ended, false) {
			d.prove(i)
		}
	case 4:
		i := d.rnd.IntN(len(d.m.state))
		if d.m.held(i) {
			return
		}
		if begin := []func(int) bool{p.Begin, p.BeginAgain}[d.rnd.IntN(2)]; begin(i) {
			d.prove(i)
		}
	case 5:
		if i := d.rnd.IntN(len(d.m.state)); !d.m.held(i) {
			d.write(i, trusting)
		}
	default:
		if len(d.under) > 0 {
			k := d.rnd.IntN(len(d.under))
			do := d.under[k]
			d.under = append(d.under[:k], d.under[k+1:]...)
			do()
		}
	}
}

// ended lets nothing wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Whatever order work comes in, no chunk is out for two at once, only moves of
// the table are made, all of them are, and in the end every chunk is done.
func TestRandomWork(t *testing.T) {
	kinds := "ddzdzzdddzd"
	table := newTable(t, kinds)
	var made [states][states]bool
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		held := func(i int) bool { return i == 0 || i == len(kinds)-1 }
		m := New(table, held)
		m.moved = func(from, to State) { made[from][to] = true }
		d := &driver{t: t, rnd: rnd, m: m, claimed: map[int]string{}}
		for i := range kinds {
			if held(i) && kinds[i] == 'd' && rnd.IntN(2) == 0 {
				m.Work.Landed(i) // before the first write
			}
		}
		if rnd.IntN(2) == 0 { // probes, then the survey
			m.Work.Doubt()
			m.Work.Found(1, rnd.IntN(2) == 0)
			m.Work.Found(3, true)
			m.Work.Doubt()
		}
		trusting := rnd.IntN(2) == 0
		for range 100 {
			d.step(trusting)
		}
		d.finish()
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, m.state)
		}
	}
	for from := range State(states) {
		for to := range State(states) {
			if (moves[from][to] != "") != made[from][to] {
				t.Errorf("from %v to %v: in the table: %q, made: %v", from, to, moves[from][to], made[from][to])
			}
		}
	}
}

// finish ends all that was begun, and has the rest done without a system.
func (d *driver) finish() {
	for range 10_000 {
		done := len(d.under) == 0
		for i, s := range d.m.state {
			done = done && (s >= Verified || s == Written && d.m.held(i))
		}
		if done {
			return
		}
		if d.rnd.IntN(2) == 0 && len(d.under) > 0 {
			do := d.under[0]
			d.under = d.under[1:]
			do()
			continue
		}
		if d.writes > 0 {
			continue
		}
		d.step(false)
	}
	d.t.Errorf("it never ends: %v, %d under way", d.m.state, len(d.under))
}
