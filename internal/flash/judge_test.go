package flash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// judge holds a model disk to the promise at every step of a run: if the
// power went now, then LBA 0 is zero, or everything behind it is what was
// there before the run, or everything behind it is the image.
//
// A torn LBA 0 keeps to that as well. It is written twice only: zeroed, when
// nothing else was touched yet, and filled, when all else is on the medium and
// was read back. So what a half of it could boot is whole.
type judge struct {
	disk        *modelDisk
	start, want []byte
	// Sectors of the medium, LBA 0 aside, that are not the start's or not the
	// image's.
	notStart, notWant int

	rnd   *rand.Rand
	tally tally
	broke error // the first breach
	cutAt int   // the step at which the power goes; 0: never
	left  []byte
}

// tally counts judged power cuts by what they left.
type tally struct {
	cases, runs, steps       int64
	untouched, gated, sealed int64
	torn                     int64 // of those, cuts that left an LBA 0 in two parts
}

func (t *tally) cuts() int64 { return t.untouched + t.gated + t.sealed }

func (t *tally) add(o tally) {
	t.cases += o.cases
	t.runs += o.runs
	t.steps += o.steps
	t.untouched += o.untouched
	t.gated += o.gated
	t.sealed += o.sealed
	t.torn += o.torn
}

// How often a step is cut at which LBA 0 may be anything but zero. Such steps
// are few, the fewest those at which the old disk is still there; all others
// are decided by LBA 0 alone.
const (
	perStep    = 48
	perOldStep = 160
)

func newJudge(d *modelDisk, start, want []byte, rnd *rand.Rand) *judge {
	j := &judge{disk: d, start: start, want: want, rnd: rnd}
	for off := d.sector; off < d.size; off += d.sector {
		if !bytes.Equal(d.medium[off:off+d.sector], want[off:off+d.sector]) {
			j.notWant++
		}
	}
	d.certain, d.watch = j.certain, j.step
	return j
}

func (j *judge) certain(off int64, to []byte) {
	if off == 0 {
		return
	}
	end := off + int64(len(to))
	was := j.disk.medium[off:end]
	j.notStart += differ(to, j.start[off:end]) - differ(was, j.start[off:end])
	j.notWant += differ(to, j.want[off:end]) - differ(was, j.want[off:end])
}

func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	return 1
}

func (j *judge) step() {
	j.tally.steps++
	switch {
	case j.broke != nil: // which is all there is to know
	case !j.gateMayShow():
		j.tally.gated++
	default:
		if j.allSubsets(); j.broke != nil {
			break
		}
		times := perStep
		if j.notStart == 0 && j.notWant > 0 {
			times = perOldStep
		}
		for range times {
			j.cutOnce()
		}
	}
	if j.disk.step == j.cutAt {
		j.left = j.disk.cutPower(j.rnd)
	}
}

// gateMayShow reports whether a cut could leave LBA 0 anything but zero.
func (j *judge) gateMayShow() bool {
	show := !allZero(j.disk.medium[:j.disk.sector])
	for _, o := range j.disk.cached {
		show = show || o.off == 0 && !allZero(o.data[:j.disk.sector])
	}
	return show
}

// allSubsets judges every set of cached sectors that may reach the medium,
// torn or not, at once: if none of them differs from the start's, or none from
// the image's, then no set of them does.
func (j *judge) allSubsets() {
	start, image := j.notStart == 0, j.notWant == 0
	gates := [][]byte{j.disk.medium[:j.disk.sector]}
	j.disk.uncertain(func(off int64, to []byte) {
		if off == 0 {
			gates = append(gates, to)
			return
		}
		start = start && differ(to, j.start[off:off+j.disk.sector]) == 0
		image = image && differ(to, j.want[off:off+j.disk.sector]) == 0
	})
	for _, g := range gates {
		ok := allZero(g) || start && differ(g, j.start[:j.disk.sector]) == 0 || image && differ(g, j.want[:j.disk.sector]) == 0
		if !ok {
			j.breach("LBA 0 may be there, what it belongs to may not")
		}
	}
}

// cutOnce cuts the power once: a share of the cached sectors is on the medium.
func (j *judge) cutOnce() {
	d := j.disk
	gate := bytes.Clone(d.medium[:d.sector])
	changed := map[int64][]byte{}
	share := j.rnd.Float64()
	d.uncertain(func(off int64, to []byte) {
		if j.rnd.Float64() >= share {
			return
		}
		if off == 0 {
			tear(gate, to, j.rnd)
			return
		}
		if changed[off] == nil {
			changed[off] = bytes.Clone(d.medium[off : off+d.sector])
		}
		tear(changed[off], to, j.rnd)
	})
	if allZero(gate) {
		j.tally.gated++
		return
	}
	notStart, notWant := j.notStart, j.notWant
	for off, is := range changed {
		end := off + d.sector
		notStart += differ(is, j.start[off:end]) - differ(d.medium[off:end], j.start[off:end])
		notWant += differ(is, j.want[off:end]) - differ(d.medium[off:end], j.want[off:end])
	}
	switch {
	case notWant == 0 && partOf(gate, j.want):
		j.tally.sealed++
		j.tally.torn += int64(differ(gate, j.want[:d.sector]))
	case notStart == 0 && partOf(gate, j.start):
		j.tally.untouched++
		j.tally.torn += int64(differ(gate, j.start[:d.sector]))
	default:
		j.breach(fmt.Sprintf("LBA 0 is there; %d sectors are not the image's, %d not what was there before", notWant, notStart))
	}
}

// partOf reports whether the gate is made of the disk's LBA 0 and zeros.
func partOf(gate, disk []byte) bool {
	for i, b := range gate {
		if b != 0 && b != disk[i] {
			return false
		}
	}
	return true
}

func (j *judge) breach(what string) {
	if j.broke == nil {
		j.broke = fmt.Errorf("cut at step %d: %s", j.disk.step, what)
	}
}
