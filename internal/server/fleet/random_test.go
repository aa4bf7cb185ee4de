package fleet

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// world is one machine under operators, firmware and agents that do anything
// in any order, and what must hold all the same.
type world struct {
	rng      *rand.Rand
	m        api.Machine
	now      time.Time
	arms     map[string]bool // plan -> still valid
	receipts map[string]int  // plan -> how many times the record took one
	seq      map[string]uint64
	log      []string
}

func TestRandomSequences(t *testing.T) {
	for seed := range uint64(3000) {
		w := &world{
			rng: rand.New(rand.NewPCG(seed, 1)), m: api.Machine{MAC: mac}, now: at(0),
			arms: map[string]bool{}, receipts: map[string]int{}, seq: map[string]uint64{},
		}
		for range 80 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.log)
			}
		}
	}
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) session() string { return fmt.Sprintf("s%d", w.rng.IntN(3)) }

func (w *world) step() error {
	w.now = w.now.Add(time.Duration(w.rng.IntN(30)) * time.Second)
	before := w.m.Armed
	expired := before != nil && !before.Expires.IsZero() && !w.now.Before(before.Expires) && !w.m.Writing
	var err error
	switch w.rng.IntN(7) {
	case 0:
		w.arm()
	case 1:
		w.note("cancel")
		_, _ = Cancel(&w.m, w.now)
	case 2:
		w.note("seen")
		Seen(&w.m, Sighting{MAC: mac, Source: Source(w.rng.IntN(3))}, w.now)
	case 3:
		w.note("boot")
		d, _ := Boot(&w.m, api.Inventory{}, w.now)
		if want := before != nil && !expired; (d.Image != nil) != want {
			return fmt.Errorf("boot gave image %v; armed %v", d.Image, want)
		}
	default:
		err = w.agent(before != nil && !expired)
	}
	if err != nil {
		return err
	}
	return w.invariants()
}

func (w *world) arm() {
	id := fmt.Sprintf("p%d", len(w.arms))
	var expires time.Time
	if w.rng.IntN(2) == 0 {
		expires = w.now.Add(time.Duration(w.rng.IntN(100)) * time.Second)
	}
	w.note("arm %s", id)
	if _, err := Arm(&w.m, plan(id), expires, w.now); err == nil {
		w.arms[id] = true
	}
}

// agent lets one of three sessions say hello or report anything, with any
// plan that ever was.
func (w *world) agent(armed bool) error {
	s := w.session()
	if w.rng.IntN(3) == 0 {
		w.note("hello %s", s)
		a, _ := Hello(&w.m, hello(s), w.now)
		if (a.Plan != nil) && !armed {
			return fmt.Errorf("a plan without an arm: %+v", a)
		}
		return nil
	}
	id := fmt.Sprintf("p%d", w.rng.IntN(len(w.arms)+1))
	w.seq[s] += uint64(w.rng.IntN(2)) // sometimes the last one again
	e := event(max(1, w.seq[s]), StepFlash, []string{api.StateStart, api.StateDone, api.StateFailed}[w.rng.IntN(3)])
	if w.rng.IntN(3) == 0 {
		e = sealed(e.Seq, id)
	}
	w.note("report %s %s %s receipt %v", s, id, e.State, e.Receipt != nil)
	m := w.m
	had := m.Receipt
	holder := m.Session
	if _, err := Report(&m, report(s, id, e), w.now); err != nil {
		return nil //nolint:nilerr // a refusal changes nothing
	}
	w.m = m
	if m.Receipt != had {
		w.receipts[id]++
		if holder != s || !armed {
			return fmt.Errorf("receipt of %s taken from %s; holder %s, armed %v", id, s, holder, armed)
		}
	}
	return nil
}

func (w *world) invariants() error {
	for id, n := range w.receipts {
		if n > 1 || !w.arms[id] {
			return fmt.Errorf("plan %s has %d receipts, armed once: %v", id, n, w.arms[id])
		}
	}
	m := w.m
	switch {
	case m.Writing && m.Armed == nil:
		return fmt.Errorf("writing without an arm")
	case m.Armed == nil && (m.State == api.MachineArmed || m.State == api.MachineFlashing || m.State == api.MachineBooting):
		return fmt.Errorf("state %q without an arm", m.State)
	case m.Armed != nil && (m.State == api.MachineHandingOff || m.State == api.MachineRegistered || m.State == api.MachineDiscovered):
		return fmt.Errorf("state %q with an arm", m.State)
	}
	return nil
}
