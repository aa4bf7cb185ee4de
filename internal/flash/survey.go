package flash

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/golden"
)

// A survey begins with a look at one chunk of each of the spans that an
// interrupted flash began with, and at as many spread over the rest. When
// none is right, the disk holds something else, and reading it would be waste.
const (
	probes     = 16
	liveProbes = 4 // a system waits
)

// scout finds out what of the image is on the disk already. Its survey is
// shared with the workers.
type scout struct {
	table    *golden.Table
	held     *heldChunks
	work     *chunks.Work
	medium   *medium
	survey   *survey
	meter    *meter
	throttle *live.Throttle // nil: no system will run from the disk
}

// scan finds out whether anything is already right on the disk: what an
// interrupted flash left, or an older version of the image. Only hashes
// decide: a journal would have to be believed.
func (s *scout) scan(ctx context.Context) error {
	s.work.Doubt()
	chosen := s.probes()
	s.meter.expect(bytesOf(s.table, chosen))
	err := s.medium.examine(ctx, chosen, readers, anyChunk, func(i int, right bool) error {
		s.found(i, right)
		_, length := s.table.Extent(i)
		s.meter.done.Add(length)
		return nil
	})
	if err != nil {
		return err
	}
	if s.meter.kept.Load() == 0 {
		s.work.DoubtNothing()
		return nil
	}
	// What the probes found is looked at again: see Flight.writeAll.
	s.meter.kept.Store(0)
	s.meter.ledger.ForgetFound()
	s.work.Doubt()
	s.survey.hope()
	return nil
}

// probes lists the chunks that scan looks at.
func (s *scout) probes() []int {
	most := probes
	if s.throttle != nil {
		most = liveProbes
	}
	var first, data []int
	var end int64
	for i, c := range s.table.All() {
		if c.Zero || s.held.holds(i) {
			continue
		}
		if len(first) < most && (len(first) == 0 || c.Offset+c.Length-end > chunks.SpanBytes) {
			first, end = append(first, i), c.Offset
		} else {
			data = append(data, i)
		}
	}
	n := min(most, len(data))
	for k := range n {
		first = append(first, data[k*len(data)/n])
	}
	return first
}

// found takes note of what a look at chunk i's place on the disk gave.
func (s *scout) found(i int, right bool) {
	s.survey.saw(right)
	s.work.Found(i, right)
	if _, length := s.table.Extent(i); right {
		s.meter.kept.Add(length)
		s.meter.ledger.Found(i)
	}
}

// rest looks at the chunks that the probes left unknown, beside the workers
// that fetch what is found absent.
func (s *scout) rest(ctx context.Context) error {
	if !s.work.Doubtful() {
		return nil
	}
	back, err := s.medium.open()
	if err != nil {
		return err
	}
	defer back.Close()
	g, ctx := errgroup.WithContext(ctx)
	for range readers {
		g.Go(func() error { return s.readUnknown(ctx, back) })
	}
	return g.Wait()
}

func (s *scout) readUnknown(ctx context.Context, back io.ReaderAt) error {
	buf := s.medium.buffers.get()
	defer s.medium.buffers.put(buf)
	for ctx.Err() == nil {
		if err := s.throttle.Yield(ctx, false); err != nil {
			return err
		}
		i, ok := s.work.ClaimLook(s.survey.skip)
		if !ok {
			return nil
		}
		if err := s.look(back, i, buf); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// look finds out whether the disk holds chunk i, which is being examined.
func (s *scout) look(back io.ReaderAt, i int, buf []byte) error {
	right, err := s.medium.holds(back, i, buf)
	if err != nil {
		return err
	}
	s.found(i, right)
	if _, length := s.table.Extent(i); right {
		s.meter.done.Add(length)
	}
	return nil
}

// survey decides whether it is worth reading what the disk holds. To read a
// chunk costs time each time and saves its fetching only when it is right:
// with S bytes a second read, and F fetched and written, looking pays when more
// than F/S of the chunks are right. Safe for concurrent use.
type survey struct {
	reading, fetching rate
	workers           int // that share in fetching; readers do in reading

	mu      sync.Mutex
	hits    float64 // share of right chunks among the last ones, about recent of them
	skipped int
}

const (
	recent = 64
	// tolerated is how much longer than a full flash a survey that finds
	// nothing may make it, as a share.
	tolerated = 0.04
	// Where looking does not pay, one chunk of some is still looked at, in case
	// that the image continues there: one of skipEvery, or fewer where reading is
	// slow, so that it costs at most skipShare of a full flash.
	skipEvery = 32
	skipShare = 0.02
	// likelyRatio is F/S before either was measured.
	likelyRatio = 0.25
	// rateBytes is how much must have passed before a rate is believed.
	rateBytes = 32 << 20
)

// hope has the survey begin as if everything were right, which recent chunks
// that are not will correct.
func (s *survey) hope() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hits = 1
}

// saw takes note of one look.
func (s *survey) saw(right bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !right:
		s.hits -= s.hits / recent
	case s.pays():
		s.hits += (1 - s.hits) / recent
	default:
		s.hits = max(s.hits, 0.5) // the image continues here
	}
}

// skip reports whether the next unknown chunk is not worth a look.
func (s *survey) skip() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pays() {
		s.skipped = 0
		return false
	}
	s.skipped++
	return s.skipped%max(skipEvery, int(s.ratio()/skipShare)) != 0
}

func (s *survey) pays() bool { return s.hits+tolerated >= s.ratio() }

// ratio is F/S as measured.
func (s *survey) ratio() float64 {
	fetched, read := s.fetching.perSecond(), s.reading.perSecond()
	if fetched == 0 || read == 0 {
		return likelyRatio
	}
	return fetched * float64(s.workers) / (read * readers)
}

// rate adds up bytes and the time that they took one goroutine.
type rate struct {
	bytes, nanos atomic.Int64
}

func (r *rate) add(bytes int64, took time.Duration) {
	r.bytes.Add(bytes)
	r.nanos.Add(int64(took))
}

// perSecond returns bytes a second of one goroutine, 0 while too little has
// passed.
func (r *rate) perSecond() float64 {
	bytes, nanos := r.bytes.Load(), r.nanos.Load()
	if bytes < rateBytes || nanos == 0 {
		return 0
	}
	return float64(bytes) / (float64(nanos) / 1e9)
}
