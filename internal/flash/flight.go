package flash

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/flash/ledger"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// Flight is one run of the engine. Callers that only want the image on the
// disk call the function Run.
type Flight struct {
	job       Job
	table     *golden.Table
	chunks    *chunks.Map
	held      *heldChunks
	layout    *layout
	kept      *kept
	medium    *medium
	source    *supply.Line
	scout     *scout
	workers   *workers
	prover    *prover
	meter     *meter
	following errgroup.Group

	// Of a flight whose disk a system uses while it is written: live.go. In
	// others throttle and recent are nil.
	throttle *live.Throttle
	recent   *live.Recent
	live     *live.Disk
	back     blockdev.ReadBack // what the system reads from
	ready    chan struct{}     // closed when live is set
	over     chan struct{}     // closed when Run ends
	fail     context.CancelCauseFunc
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
	t := job.Image.Table
	return newFlight(job, newHeldChunks(t, job.Disk.SectorSize()), &buffers{size: int(t.ChunkSize)}), nil
}

// newFlight puts the parts of a flight together.
func newFlight(job Job, held *heldChunks, lent *buffers) *Flight {
	if job.Workers <= 0 {
		job.Workers = min(max(4, 2*runtime.GOMAXPROCS(0)), 8)
	}
	job.DiskPatience = cmp.Or(job.DiskPatience, 5*time.Minute)
	t := job.Image.Table
	f := &Flight{job: job, table: t, held: held, chunks: chunks.New(t, held.holds)}
	if job.Move != nil {
		job.Retry.Patience = -1 // a running system waits
		f.throttle = live.NewThrottle(job.Spare)
		f.recent = live.NewRecent(int(recentBytes / t.ChunkSize))
	}
	f.ready, f.over = make(chan struct{}), make(chan struct{})
	f.meter = newMeter(ledger.New(t, readers, job.Verify.asks, held.holds), job.Progress, f.lookAtWaits)
	f.source = supply.New(job.Source, t, job.Retry, &f.meter.wire)
	s := &survey{workers: job.Workers}
	f.medium = &medium{
		disk: newWatchedDisk(job.Disk), table: t, buffers: lent, reading: &s.reading,
		ledger: f.meter.ledger, repaired: &f.meter.repaired,
	}
	f.layout = &layout{image: job.Image, held: held, size: job.Disk.Size(), sector: job.Disk.SectorSize(), keep: job.Keep}
	f.kept = &kept{medium: f.medium, entries: job.Keep}
	f.scout = &scout{
		table: t, held: held, work: f.chunks.Work, medium: f.medium, survey: s, meter: f.meter, throttle: f.throttle,
	}
	f.workers = &workers{
		table: t, chunks: f.chunks, held: held, source: f.source, medium: f.medium, meter: f.meter,
		fetching: &s.fetching, verify: job.Verify, throttle: f.throttle, recent: f.recent,
	}
	f.prover = &prover{
		table: t, chunks: f.chunks, held: held, medium: f.medium, workers: f.workers, menders: job.Workers,
		meter: f.meter, verify: job.Verify,
	}
	return f
}

// lookAtWaits says who waits for whom.
func (f *Flight) lookAtWaits(p *Progress) {
	p.Unanswered = worthAWord(f.medium.disk.age())
	p.Unmet = worthAWord(f.throttle.Unmet())
	p.Trouble = f.source.Trouble()
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
		if err := f.medium.disk.watch(watching, f.job.DiskPatience); err != nil {
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
		{PhaseScan, f.scout.scan},
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
		return fmt.Errorf("chunk %d is out of range: the image has %d", i, f.table.Len())
	}
	return f.chunks.Work.Demand(ctx, i)
}

func (f *Flight) result() Result {
	demanded, waited := f.throttle.Demands()
	return Result{
		Demanded: demanded,
		Waited:   waited,
		Written:  f.meter.written.Load(),
		Zeroed:   f.meter.zeroed.Load(),
		Kept:     f.meter.kept.Load(),
		Wire:     f.meter.wire.Load(),
		Given:    f.source.Givers(),
		Repaired: int(f.meter.repaired.Load()),
		Phases:   f.meter.took(),
	}
}

// prepare closes the gate, then removes what could make anything take the
// disk for its old self. The two are separate flushed steps because a disk
// may keep the writes of one step in any order.
func (f *Flight) prepare(ctx context.Context) error {
	if err := f.rehearse(ctx); err != nil {
		return err
	}
	if err := f.medium.closeGate(ctx); err != nil {
		return err
	}
	untouchable, err := f.kept.secure(ctx)
	if err != nil {
		return fmt.Errorf("keeping partitions: %w", err)
	}
	if err := f.medium.zeroProven(ctx, without(f.leftovers(), untouchable)...); err != nil {
		return fmt.Errorf("wiping old signatures: %w", err)
	}
	return nil
}

// rehearse fetches what is held for the seal and makes the final tables of it,
// so that a kept partition that they cannot carry is known before the first
// write and not at the last, and so that a system can be shown its disk early.
func (f *Flight) rehearse(ctx context.Context) error {
	if len(f.job.Keep) == 0 && f.job.Move == nil {
		return nil
	}
	err := f.workers.work(func(w *worker) error {
		for i := range f.table.Len() {
			if !f.held.holds(i) || f.table.Zero(i) {
				continue
			}
			raw, err := w.refetch(ctx, i, badFrames)
			if err != nil {
				return err
			}
			if err := f.workers.place(ctx, i, raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.layout.gpt() {
		_, err = f.layout.fitted()
	}
	if err == nil && len(f.job.Keep) > 0 {
		_, err = f.kept.backup()
	}
	if err != nil {
		return fmt.Errorf("%w; %w", err, ErrUnfit)
	}
	return nil
}

// leftovers are the places of old signatures that are not written in any case
// before the seal. The others hold chunks that an interrupted flash may have
// left right.
func (f *Flight) leftovers() []blockdev.Range {
	var ranges []blockdev.Range
	for _, r := range blockdev.SignatureRanges(f.job.Disk.Size()) {
		if r.Offset < heldBytes || r.Offset+r.Length > f.table.DiskSize-heldBytes {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// write fills the disk with everything but the held chunks, which wait in
// memory for the seal.
func (f *Flight) write(ctx context.Context) error {
	f.meter.expect(f.chunks.Unwritten())
	if f.job.Move != nil {
		if err := f.goLive(ctx); err != nil {
			return err
		}
	}
	landed := make(chan struct{})
	if f.job.Verify == VerifyFull {
		f.following.Go(func() error { return f.prover.follow(ctx, landed) })
	}
	err := f.writeAll(ctx)
	close(landed)
	if err != nil {
		return errors.Join(err, f.following.Wait())
	}
	if err := f.medium.disk.Flush(); err != nil {
		return fmt.Errorf("flushing the data: %w", err)
	}
	return nil
}

// writeAll fetches, looks and zeroes side by side until every chunk is
// written or was found right. When there is something to find, the zeros come
// first: where they are there already, a zeroing that goes astray shows only
// in what it hits, and that must not have been looked at before. Where a
// system waits, what was looked at before is looked at again in the end.
func (f *Flight) writeAll(ctx context.Context) error {
	if f.chunks.Work.Doubtful() && f.job.Move == nil {
		if err := f.workers.zero(ctx); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	var bringing sync.WaitGroup
	begin := func(do func(context.Context) error) {
		bringing.Add(1)
		g.Go(func() error {
			defer bringing.Done()
			return do(ctx)
		})
	}
	for n := range f.job.Workers {
		begin(func(ctx context.Context) error { return f.workers.fetch(ctx, n > 0) })
	}
	begin(f.workers.zero)
	g.Go(func() error { return f.scout.rest(ctx) })
	if f.job.Move != nil {
		look := func(i int, buf []byte) error { return f.scout.look(f.back, i, buf) }
		for range errandWorkers {
			g.Go(func() error { return f.workers.runErrands(ctx, look) })
		}
		g.Go(func() error {
			bringing.Wait()
			f.chunks.Work.Finish()
			return nil
		})
	}
	return g.Wait()
}

// readBack proves that the medium holds what was written.
func (f *Flight) readBack(ctx context.Context) error {
	// What was begun while chunks still arrived comes to its end here.
	if err := f.following.Wait(); err != nil {
		return err
	}
	return f.prover.readBack(ctx)
}
