package flash

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// modelDisk is a disk with a volatile cache. A write is in the cache from the
// moment it begins and may reach the medium at any time, sector by sector, in
// any order, torn within a sector, or never. Only a flush makes it certain,
// and only a write that had ended before the flush began.
type modelDisk struct {
	size   int64
	sector int64

	mu     sync.Mutex
	now    []byte // what a read gives: the cache over the medium
	medium []byte // what is certain
	cached []*op  // writes that no flush has made certain
	writes int    // that began
	step   int    // counts beginnings and ends
	off    bool   // the power is gone
	rnd    *rand.Rand

	// fault, when set, sees each call as it ends and may change its bytes.
	fault func(kind opKind, off int64, p []byte) error
	// lie, when set, sees each write as it ends and may change what becomes
	// of it, at once or when it is flushed.
	lie func(*op)
	// reading, when set, sees what a read is about to give and may change it.
	reading func(kind opKind, off int64, p []byte)
	// watch, when set, is called after every step.
	watch func()
	// certain, when set, is called before a sector of the medium changes.
	certain func(off int64, to []byte)
	// schedule, when set, decides when a call begins and ends.
	schedule *scheduler
}

type opKind int

const (
	opWrite opKind = iota
	opZero
	opFlush
	opRead
	opOpen
	opSource // of the scheduler only
)

// op is one call: when it began and ended, in steps, and what it carries.
type op struct {
	disk         *modelDisk
	kind         opKind
	off          int64
	data         []byte
	began, ended int
	failed       bool
	err          error
	done         chan struct{}

	// What a lying disk makes of a write: other bytes at another place. A
	// late lie is told by the flush; until then the cache holds the truth.
	lied    bool
	late    bool
	lieOff  int64
	lieData []byte

	// What becomes of a request to a source.
	cutBody   int64 // bytes after which it ends; 0: all
	spoilBody bool
}

func newModelDisk(old []byte) *modelDisk {
	return &modelDisk{
		size: int64(len(old)), sector: sector, now: bytes.Clone(old), medium: bytes.Clone(old),
		rnd: rand.New(rand.NewPCG(1, 1)),
	}
}

func (d *modelDisk) Size() int64     { return d.size }
func (d *modelDisk) SectorSize() int { return int(d.sector) }

func (d *modelDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.call(&op{kind: opWrite, off: off, data: bytes.Clone(p)}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *modelDisk) ZeroRange(off, n int64) error {
	return d.call(&op{kind: opZero, off: off, data: make([]byte, n)})
}

func (d *modelDisk) Flush() error { return d.call(&op{kind: opFlush}) }

func (d *modelDisk) OpenReadBack() (blockdev.ReadBack, error) {
	if err := d.call(&op{kind: opOpen}); err != nil {
		return nil, err
	}
	return modelReadBack{d}, nil
}

type modelReadBack struct{ *modelDisk }

func (d modelReadBack) Close() error { return nil }
func (d modelReadBack) ReadAt(p []byte, off int64) (int, error) {
	if err := d.call(&op{kind: opRead, off: off, data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *modelDisk) call(o *op) error {
	o.disk = d
	if (o.off|int64(len(o.data)))%d.sector != 0 || o.off < 0 || o.off+int64(len(o.data)) > d.size {
		return errors.New("model disk: unaligned or out of range")
	}
	if d.schedule != nil {
		d.schedule.submit(o)
		return o.err
	}
	o.begin()
	o.end()
	return o.err
}

// begun is how many writes the disk was asked for.
func (d *modelDisk) begun() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

func (o *op) begin() {
	d := o.disk
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return
	}
	d.step++
	o.began = d.step
	if o.kind == opWrite || o.kind == opZero {
		d.writes++
		d.cached = append(d.cached, o)
	}
	d.stepped()
}

func (o *op) end() {
	d := o.disk
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off || o.began == 0 {
		o.err = errPowerCut
		return
	}
	d.step++
	if d.fault != nil {
		o.err = d.fault(o.kind, o.off, o.data)
	}
	switch o.kind {
	case opWrite, opZero:
		d.endWrite(o)
	case opFlush:
		d.endFlush(o)
	case opRead:
		if o.err == nil {
			copy(o.data, d.now[o.off:])
			if d.reading != nil {
				d.reading(o.kind, o.off, o.data)
			}
		}
	}
	d.stepped()
}

var errPowerCut = errors.New("the power is gone")

func (d *modelDisk) stepped() {
	if d.watch != nil {
		d.watch()
	}
}

func (d *modelDisk) endWrite(o *op) {
	o.ended = d.step
	if o.err != nil {
		o.failed = true // anything may have become of it
		return
	}
	if d.lie != nil {
		d.lie(o)
	}
	if o.lied && !o.late {
		o.off, o.data = o.lieOff, o.lieData
	}
	copy(d.now[o.off:], o.data)
}

// endFlush makes certain what had ended before it began. A flush that fails
// leaves of every write what it likes, for good: the next one will not save it
// ("fsyncgate", https://lwn.net/Articles/752063/).
func (d *modelDisk) endFlush(f *op) {
	var covered, rest []*op
	for _, o := range d.cached {
		if o.ended > 0 && o.ended < f.began {
			covered = append(covered, o)
		} else {
			rest = append(rest, o)
		}
	}
	d.cached = rest
	slices.SortFunc(covered, func(a, b *op) int { return cmp.Compare(a.ended, b.ended) })
	for _, o := range covered {
		if o.lied && o.late {
			d.settleLate(o)
			continue
		}
		for s := int64(0); s < int64(len(o.data)); s += d.sector {
			if (f.err != nil || o.failed) && d.rnd.IntN(2) == 0 {
				copy(d.now[o.off+s:][:d.sector], d.medium[o.off+s:])
				continue
			}
			d.settle(o.off+s, o.data[s:s+d.sector])
			if o.failed {
				copy(d.now[o.off+s:], o.data[s:s+d.sector])
			}
		}
	}
}

// settleLate tells the lie: the cache is dropped, and the medium has what the
// lie made of the write.
func (d *modelDisk) settleLate(o *op) {
	copy(d.now[o.off:], d.medium[o.off:o.off+int64(len(o.data))])
	for s := int64(0); s < int64(len(o.lieData)); s += d.sector {
		d.settle(o.lieOff+s, o.lieData[s:s+d.sector])
	}
	copy(d.now[o.lieOff:], o.lieData)
}

func (d *modelDisk) settle(off int64, to []byte) {
	if d.certain != nil {
		d.certain(off, to)
	}
	copy(d.medium[off:], to)
}

// uncertain calls do for every sector that a write in the cache may change.
// More than one write to a sector are told of one after the other.
func (d *modelDisk) uncertain(do func(off int64, to []byte)) {
	for _, o := range d.cached {
		for s := int64(0); s < int64(len(o.data)); s += d.sector {
			do(o.off+s, o.data[s:s+d.sector])
		}
	}
}

// cutPower returns what the medium may hold when the power goes now. A share
// of the sectors in the cache reach it, some of them torn.
func (d *modelDisk) cutPower(rnd *rand.Rand) []byte {
	d.off = true
	medium := bytes.Clone(d.medium)
	share := rnd.Float64()
	d.uncertain(func(off int64, to []byte) {
		if rnd.Float64() < share {
			tear(medium[off:off+d.sector], to, rnd)
		}
	})
	return medium
}

// tear overwrites a sector, one time in eight only its front or its back.
func tear(sector, to []byte, rnd *rand.Rand) {
	switch at := 1 + rnd.IntN(len(to)-1); rnd.IntN(16) {
	case 0:
		copy(sector, to[:at])
	case 1:
		copy(sector[at:], to[at:])
	default:
		copy(sector, to)
	}
}

// failing makes the nth call of a kind, from 1, fail.
func failing(kind opKind, nth int, err syscall.Errno) func(opKind, int64, []byte) error {
	var seen int
	return func(k opKind, _ int64, _ []byte) error {
		if k == kind {
			if seen++; seen == nth {
				return err
			}
		}
		return nil
	}
}
