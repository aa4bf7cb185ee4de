package flash

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/flash/ledger"
	"github.com/gild-dev/gild/internal/progress"
)

// Phase is a part of a flash that takes time of its own.
type Phase int

// The phases, in their order.
const (
	PhasePrepare  Phase = iota // close the gate, wipe old signatures
	PhaseScan                  // find what is already right
	PhaseWrite                 // fetch, verify, write
	PhaseReadBack              // prove the medium
	PhaseSeal                  // head, backup table, LBA 0
)

func (p Phase) String() string {
	return [...]string{"prepare", "scan", "write", "read back", "seal"}[p]
}

// Progress is how far the running phase has come. Done and Total are raw
// bytes on the disk, not in a cache; Wire is bytes fetched since the start.
type Progress struct {
	Phase       Phase
	Done, Total int64
	Wire        int64
	Rate        float64 // of Done, bytes a second, over the last seconds
	// Unanswered is how long the disk has not answered a call: 0 as long as
	// that is less than ten seconds, which disks do need now and then.
	Unanswered time.Duration
	// Unmet is how long a system that runs from the disk has waited for pieces
	// of it without getting any: 0 below ten seconds too.
	Unmet time.Duration
	// Work is the whole flash, zeros apart from data.
	Work progress.Work
	// Trouble is what the source failed with last, nil once it gave a byte.
	Trouble error
}

// notice is when a wait that takes long is worth a word.
const notice = 10 * time.Second

// worthAWord is a wait if it is, 0 otherwise.
func worthAWord(wait time.Duration) time.Duration {
	if wait < notice {
		return 0
	}
	return wait
}

// tick is the distance between two progress reports.
const tick = 250 * time.Millisecond

// rateTicks is over how many ticks the rate is taken: long enough to be
// steady, short enough to show a stall.
const rateTicks = 12

// meter counts what the workers do and tells the job's listener of it.
type meter struct {
	written, zeroed, kept, wire, repaired atomic.Int64
	done, total                           atomic.Int64 // of the running phase

	ledger *ledger.Ledger
	pace   progress.Meter
	report func(Progress)
	look   func(*Progress) // fills in what is known elsewhere
	phase  atomic.Int64
	mu     sync.Mutex
	phases []PhaseTime

	stop    chan struct{}
	stopped sync.WaitGroup
	// telling is held while the listener is called, and while a phase begins:
	// it must not hear of half a change.
	telling sync.Mutex
	recent  []point // of the last reports of this phase
}

// point is how far a phase was at one moment.
type point struct {
	at   time.Time
	done int64
}

func newMeter(l *ledger.Ledger, report func(Progress), look func(*Progress)) *meter {
	return &meter{ledger: l, report: report, look: look, stop: make(chan struct{})}
}

func (m *meter) start() {
	if m.report != nil {
		m.stopped.Go(m.tickUntilStopped)
	}
}

// run times one phase. The listener hears of its end before run returns, so
// that no report of a phase comes after the next has begun.
func (m *meter) run(p Phase, do func() error) error {
	m.telling.Lock()
	m.done.Store(0)
	m.total.Store(0)
	m.phase.Store(int64(p))
	m.recent = m.recent[:0]
	m.telling.Unlock()
	start := time.Now()
	err := do()
	m.tell()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phases = append(m.phases, PhaseTime{p, time.Since(start)})
	return err
}

// took returns how long the phases took that have ended.
func (m *meter) took() []PhaseTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.phases)
}

// expect says how many bytes the running phase has before it.
func (m *meter) expect(n int64) {
	m.telling.Lock()
	defer m.telling.Unlock()
	m.done.Store(0)
	m.total.Store(n)
	m.recent = m.recent[:0]
}

func (m *meter) tickUntilStopped() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.tell()
		case <-m.stop:
			m.tell()
			return
		}
	}
}

func (m *meter) tell() {
	if m.report == nil {
		return
	}
	m.telling.Lock()
	defer m.telling.Unlock()
	p := Progress{Phase: Phase(m.phase.Load()), Done: m.done.Load(), Total: m.total.Load(), Wire: m.wire.Load()}
	p.Done = min(p.Done, p.Total) // what is done twice counts twice
	m.look(&p)
	now := point{time.Now(), p.Done}
	p.Work = m.pace.At(now.at, m.ledger.At(p.Wire))
	m.recent = append(m.recent, now)
	// The end of a phase may follow a tick at once: no time to take a rate over.
	if over := now.at.Sub(m.recent[0].at); over >= tick/2 {
		p.Rate = float64(now.done-m.recent[0].done) / over.Seconds()
	}
	if len(m.recent) > rateTicks {
		m.recent = m.recent[1:]
	}
	m.report(p)
}

// close ends the reports. No call of the listener is running afterwards.
func (m *meter) close() {
	close(m.stop)
	m.stopped.Wait()
}
