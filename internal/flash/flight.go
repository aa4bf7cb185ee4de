package flash

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// Flight is one run of the engine. Callers that only want the image on the
// disk call the function Run.
type Flight struct {
	Job
	table   *golden.Table
	chunks  *chunks.Map
	held    *heldChunks
	survey  *survey
	source  *patientSource
	disk    *watchedDisk // what Job.Disk is from now on
	meter   *meter
	buffers *buffers
	// waited is how long the workers waited for the source, in nanoseconds.
	waited    atomic.Int64
	following errgroup.Group

	// What a live flight has: live.go.
	live   *Live
	ready  chan struct{} // closed when live is set
	over   chan struct{} // closed when Run ends
	fail   context.CancelCauseFunc
	lately *lately
	demand pressure
	// serving are those who prove and mend what the system waits for.
	serving errgroup.Group
}

// New prepares a flight and touches nothing. It returns an ErrUnfit when disk
// and image do not go together.
func New(job Job) (*Flight, error) {
	if err := Check(job.Image, job.Disk); err != nil {
		return nil, err
	}
	if err := checkKeep(job); err != nil {
		return nil, err
	}
	if job.Workers <= 0 {
		job.Workers = min(max(4, 2*runtime.GOMAXPROCS(0)), 8)
	}
	job.DiskPatience = cmp.Or(job.DiskPatience, 5*time.Minute)
	if job.Move != nil {
		job = tireless(job)
	}
	t := job.Image.Table
	held := newHeldChunks(t, job.Disk.SectorSize())
	disk := newWatchedDisk(job.Disk)
	job.Disk = disk
	f := &Flight{
		Job:     job,
		table:   t,
		chunks:  chunks.New(t, held.holds),
		held:    held,
		survey:  &survey{workers: job.Workers},
		disk:    disk,
		buffers: &buffers{size: int(t.ChunkSize)},
		ready:   make(chan struct{}),
		over:    make(chan struct{}),
		demand:  pressure{gate: make(chan struct{}, 1)},
		lately:  newLately(int(latelyBytes / t.ChunkSize)),
	}
	f.meter = newMeter(job.Progress, f.lookAtWaits)
	f.source = newPatientSource(job.Source, job.Retry, &f.meter.wire)
	return f, nil
}

// lookAtWaits says who waits for whom.
func (f *Flight) lookAtWaits(p *Progress) {
	p.Unanswered = worthAWord(f.disk.age())
	p.Unmet = worthAWord(f.demand.unmet())
	p.Trouble = f.source.trouble()
}

// Run does what the function Run says. It is called once.
func (f *Flight) Run(ctx context.Context) (Result, error) {
	defer close(f.over)
	f.meter.start()
	defer f.meter.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f.fail = cancel
	ended := make(chan error, 1)
	go func() { ended <- f.steps(ctx) }()
	// A flash that was cancelled is still watched: it may hang in the disk.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	stuck := make(chan error, 1)
	go func() {
		if err := f.disk.watch(watching, f.DiskPatience); err != nil {
			stuck <- err
		}
	}()
	select {
	case err := <-ended:
		return f.result(), err
	case err := <-stuck:
		// The call may never return, and who waits for it neither. The disk
		// refuses all further calls, so nothing is written any more.
		cancel(err)
		return f.result(), err
	}
}

// steps are the write order.
func (f *Flight) steps(ctx context.Context) error {
	for _, step := range []struct {
		phase Phase
		run   func(context.Context) error
	}{
		{PhasePrepare, f.prepare},
		{PhaseScan, f.scan},
		{PhaseWrite, f.write},
		{PhaseReadBack, f.readBack},
		{PhaseSeal, f.seal},
	} {
		if err := f.meter.run(step.phase, func() error { return step.run(ctx) }); err != nil {
			return fmt.Errorf("%v: %w", step.phase, err)
		}
	}
	return nil
}

// Demand asks for chunk i ahead of all others, and waits until it is on the
// disk or, if it is one of the first or last MiB, ready for the seal. It may be
// called by many, while Run runs.
func (f *Flight) Demand(ctx context.Context, i int) error {
	if i < 0 || i >= f.table.Len() {
		return fmt.Errorf("chunk %d is none of the image's %d", i, f.table.Len())
	}
	return f.chunks.Work.Demand(ctx, i)
}

func (f *Flight) result() Result {
	f.demand.mu.Lock()
	defer f.demand.mu.Unlock()
	return Result{
		Demanded: f.demand.count,
		Waited:   f.demand.waited,
		Written:  f.meter.written.Load(),
		Zeroed:   f.meter.zeroed.Load(),
		Kept:     f.meter.kept.Load(),
		Wire:     f.meter.wire.Load(),
		Repaired: int(f.meter.repaired.Load()),
		Phases:   f.meter.took(),
	}
}

// buffers lends out buffers of one chunk, aligned as the disk wants them. They
// are kept for the next borrower: what the collector takes back it takes late.
type buffers struct {
	size int
	mu   sync.Mutex
	free [][]byte
}

func (b *buffers) get() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return blockdev.AlignedBuffer(b.size)
}

func (b *buffers) put(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, buf)
}
