package flash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/tier"
	"github.com/gild-dev/gild/test/reliability"
)

var simulations = flag.Int("simulations", 20_000, "how many seeds TestLiveSimulated runs")

// What a simulated disk is made of: small, so that a seed takes microseconds
// and every chunk meets everything.
const (
	simSector       = 32
	simChunkSectors = 4
	simChunk        = simChunkSectors * simSector
	simChunks       = 9
	simTail         = 3 * simSector // of the disk, behind the image
)

// simBackup is at the end of the disk, as a backup table is.
var simBackup = bytes.Repeat([]byte{9}, simSector)

// simulation is a live flight of which one thing at a time happens, chosen by
// a seed. The engine's own pieces do the work: the chunk map hands it out,
// place, zeroRun, holds and proved carry it out, and the system reads and
// writes through Live. In every call of the disk other things happen, so that
// reads, writes, landings, looks and proofs overlap as they do among threads;
// what would have to wait is given up and tried later.
type simulation struct {
	rnd     *rand.Rand
	image   []byte
	table   *golden.Table
	model   []byte // what the system must see
	buffers *buffers
	tag     byte // of the last write

	f      *Flight
	config live.Config
	disk   *simDisk
	parked []func() bool // begun work that continues later; false: not yet
	depth  int
	busy   []blockdev.Extent // writes of the system under way, with their bytes
	reads  []*reading
	mine   int // the writes under way are the system's when > 0
	faulty bool
	broken bool // the disk has lied about one chunk twice, and was given up
	// serving says that somebody waits: but for the system, only those act then
	// who serve waiters.
	serving bool
	// strayed are chunks that writes for other places have hit. Until that is
	// found, in the end, a system may read them.
	strayed map[int]bool
	seen    simCounts
	ctx     context.Context
}

// simCounts is what a simulation has done.
type simCounts struct{ reads, writes, waits, cuts, broken int64 }

func (c *simCounts) add(d simCounts) {
	c.reads += d.reads
	c.writes += d.writes
	c.waits += d.waits
	c.cuts += d.cuts
	c.broken += d.broken
}

// reading is a read of the system under way. It may be overtaken by one write,
// of which it may see any part.
type reading struct {
	off, n    int
	overtaken bool
}

// ended lets nothing wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func newSimulation(t testing.TB, im simImage, b *buffers, seed uint64) *simulation {
	s := &simulation{rnd: rand.New(rand.NewPCG(seed, 1)), image: im.raw, table: im.table, buffers: b, ctx: ended}
	s.faulty = s.rnd.IntN(2) == 0
	old := make([]byte, len(im.raw)+simTail)
	if s.rnd.IntN(2) == 0 {
		for i := range old { // a used disk, that holds some of the image already
			old[i] = byte(i)
		}
		for i := range simChunks {
			if off, n := im.table.Extent(i); s.rnd.IntN(2) == 0 {
				copy(old[off:off+n], im.raw[off:])
			}
		}
	}
	if s.rnd.IntN(8) == 0 { // a flash was cut off when only LBA 0 was missing
		copy(old, im.raw)
		copy(old[len(old)-simSector:], simBackup)
	}
	clear(old[:simSector]) // the gate is closed
	s.disk = &simDisk{s: s, now: old, medium: bytes.Clone(old)}
	s.begin(t)
	return s
}

// begin is a flight as it stands when it goes live.
func (s *simulation) begin(t testing.TB) {
	held := &heldChunks{raw: map[int][]byte{}}
	for _, i := range []int{0, simChunks - 1} {
		off, n := s.table.Extent(i)
		held.raw[i] = bytes.Clone(s.image[off : off+n])
	}
	verify := []Verify{VerifyFull, VerifyFull, VerifyOff}[s.rnd.IntN(3)]
	if verify == VerifyOff {
		s.faulty = false // nobody looks for what it does
	}
	f := newFlight(Job{
		Image: &golden.Image{Table: s.table, Config: &golden.Config{}}, Disk: s.disk, Verify: verify, Workers: 1,
		Move: func(context.Context, func() error) error { return nil },
	}, held, s.buffers)
	f.recent, f.back = live.NewRecent(2), simReader{s.disk}
	f.workers.recent = f.recent
	for i := range held.raw {
		if !s.table.Zero(i) {
			f.chunks.Work.Landed(i)
		}
	}
	f.chunks.Work.Doubt()
	if s.rnd.IntN(3) == 0 {
		f.chunks.Work.DoubtNothing()
	}
	extents, err := f.layout.final()
	if err != nil {
		t.Fatal(err)
	}
	extents = append(extents, blockdev.Extent{Offset: int64(len(s.disk.now) - simSector), Data: bytes.Clone(simBackup)})
	s.f, s.config = f, f.liveConfig(extents)
	f.live = live.New(s.ctx, s.config)
	s.parked, s.busy, s.reads, s.mine, s.strayed = nil, nil, nil, 0, map[int]bool{}
	s.model = bytes.Clone(s.disk.now)
	copy(s.model, s.image)
	copy(s.model[len(s.model)-simSector:], extents[len(extents)-1].Data)
}

// finish brings the flight to its end, and the system onto the disk.
func (s *simulation) finish() error {
	for round := 0; !s.done(); round++ {
		if round > 10000 {
			return fmt.Errorf("it never ends: states %v", s.states())
		}
		s.step()
		if s.broken {
			return nil
		}
	}
	for tries := 0; ; tries++ { // what was proved too early is read again
		chunks := s.f.prover.due()
		if s.f.chunks.Proofs.TakeAstray() {
			chunks = s.f.prover.onDisk()
		}
		if s.f.job.Verify == VerifyOff || len(chunks) == 0 {
			break
		}
		for _, i := range chunks {
			s.parked = append(s.parked, func() bool { return !s.f.chunks.Proofs.BeginAgain(i) || s.proof(i) })
		}
		for len(s.parked) > 0 && !s.broken {
			s.resumes()
			s.mends()
		}
		if s.broken {
			return nil
		}
	}
	for i := range s.strayed {
		if s.f.chunks.Get(i) == chunks.Owned {
			return nil // since then the system wrote there: what else should be in it, nobody knows
		}
	}
	s.faulty, s.depth = false, 9 // nothing else happens during the move
	return s.seals()
}

// seals moves the system onto the disk and seals that, which lies about LBA 0
// up to twice.
func (s *simulation) seals() error {
	closed := func() bool { return bytes.Equal(s.disk.medium[:simSector], make([]byte, simSector)) }
	var moved error
	s.f.job.Move = func(_ context.Context, settle func() error) error {
		switch err := settle(); {
		case err != nil:
			return err
		case !closed():
			moved = errors.New("LBA 0 is on the disk before the seal")
		case !bytes.Equal(s.disk.medium[simSector:], s.model[simSector:]):
			moved = errors.New("the system has moved to a disk with other bytes than it saw")
		}
		s.disk.gateLies = max(0, s.rnd.IntN(20)-17)
		return nil
	}
	switch err := s.f.sealLive(context.Background()); {
	case moved != nil:
		return moved
	case errors.Is(err, ErrMedium) && !closed():
		return errors.New("LBA 0 stays on a disk that lied about it twice")
	case errors.Is(err, ErrMedium):
		s.broken = true
	case err != nil:
		return err
	case !bytes.Equal(s.disk.medium, s.model):
		return errors.New("the sealed disk is another one than the system saw")
	}
	return nil
}

// states are those of all chunks.
func (s *simulation) states() (all []chunks.State) {
	for i := range s.table.Len() {
		all = append(all, s.f.chunks.Get(i))
	}
	return all
}

func (s *simulation) done() bool {
	if len(s.parked) > 0 {
		return false
	}
	for i, st := range s.states() {
		if !s.f.held.holds(i) && st < chunks.Verified && (st != chunks.Written || s.f.job.Verify != VerifyOff) {
			return false
		}
	}
	return true
}

// run is one seed: some steps, perhaps a cut of the power and a new flight on
// what is left, and the end.
func (s *simulation) run(t testing.TB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	for range s.rnd.IntN(3) {
		for range s.rnd.IntN(80) {
			if s.step(); s.broken {
				return nil
			}
		}
		if !bytes.Equal(s.disk.now[:simSector], make([]byte, simSector)) {
			return errors.New("LBA 0 is on the disk before the seal")
		}
		s.disk.cut(s.rnd)
		s.seen.cuts++
		s.begin(t)
	}
	return s.finish()
}

// TestLiveSimulated compares a disk that is written while a system uses it
// with one that held the image from the start.
func TestLiveSimulated(t *testing.T) { simulateLive(t, *simulations) }

// TestLongLiveSimulated is the same with as many as docs/reliability.md tells
// of.
func TestLongLiveSimulated(t *testing.T) {
	tier.Slow(t, "a million disks")
	simulateLive(t, 1_000_000)
}

func simulateLive(t *testing.T, seeds int) {
	t.Helper()
	var images []simImage
	for i := range 64 {
		images = append(images, newSimImage(t, uint64(i)))
	}
	start := time.Now()
	var next atomic.Int64
	var mu sync.Mutex
	var total simCounts
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			lent := &buffers{size: simChunk}
			for seed := next.Add(1); seed <= int64(seeds) && !t.Failed(); seed = next.Add(1) {
				s := newSimulation(t, images[seed%int64(len(images))], lent, uint64(seed))
				if err := s.run(t); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				if s.broken {
					s.seen.broken++
				}
				mu.Lock()
				total.add(s.seen)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	reliability.Record(t, reliability.Row{
		Group: reliability.Instant,
		What: "random reads and writes of a system while its disk is fetched, zeroed, read back and, at the end, moved to; " +
			"fetches that come late and in any order, a disk that lies, cuts of the power",
		Count: int64(seeds), Unit: "disks", Seed: 1, Took: time.Since(start),
		Result: fmt.Sprintf("each read gave what the image or the system had put there (%d reads, %d writes), each disk moved to was "+
			"the one seen, "+
			"those who had to wait were served before anything else had to arrive (%d times), each of %d cuts left LBA 0 zero; "+
			"%d disks lied twice in one place and were given up", total.reads, total.writes, total.waits, total.cuts, total.broken),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestLiveSimulated$' -timeout 0 -simulations %d", seeds),
	})
}
