package progress

import (
	"math"
	"time"
)

// Counts are what the engine has counted since a flash began. Bytes; times are
// added up over all who work side by side.
type Counts struct {
	Work        Work // its amounts; the rates are the meter's to fill in
	Wire        int64
	Zeroing     time.Duration // for Work.Zeroed
	Reading     time.Duration // data: Read bytes
	ReadingZero time.Duration // zeros: ReadZeros bytes
	Read        int64         // data read in Reading, whether it proved anything or not
	ReadZeros   int64
	Readers     int // who read side by side
	// Waiting, Writing, Proving and Computing are spent on the link, on the
	// disk's writes and reads, and on decoding and hashing.
	Waiting, Writing, Proving, Computing time.Duration
}

// Bounds of the time that rates are taken over: a third of what has passed, so
// that they answer soon at first and are steady later.
const (
	leastOver = 5 * time.Second
	mostOver  = 20 * time.Second
)

// Meter turns counts into rates. The zero value has seen nothing. It is not
// safe for concurrent use.
type Meter struct {
	last    Counts
	at      time.Time
	began   time.Time
	watched time.Duration
	weight  float64 // how much of the time was seen, 0 to 1
	// Bytes, or seconds of work, a second.
	written, settled, wire               float64
	waiting, writing, proving, computing float64
}

// At takes in counts at a time and returns the work with its rates. Counts
// that are behind the last ones begin anew.
func (m *Meter) At(now time.Time, c Counts) Work {
	if m.at.IsZero() || c.Work.settled() < m.last.Work.settled() || c.Wire < m.last.Wire {
		*m = Meter{last: c, at: now, began: now}
	}
	if elapsed := now.Sub(m.at); elapsed > 0 {
		m.see(elapsed, now, c)
		m.last, m.at = c, now
	}
	return m.work(c)
}

func (m *Meter) see(elapsed time.Duration, now time.Time, c Counts) {
	moved := c.Work.settled() > m.last.Work.settled() || c.Read+c.ReadZeros > m.last.Read+m.last.ReadZeros
	if moved {
		m.watched += elapsed
	}
	// What lies longer back counts less, by an exponential; the weight keeps
	// the first seconds from counting as if zeros came before.
	over := min(max(now.Sub(m.began)/3, leastOver), mostOver)
	fade := math.Exp(-elapsed.Seconds() / over.Seconds())
	m.weight = m.weight*fade + 1 - fade
	add := func(to *float64, n float64) { *to = *to*fade + n/elapsed.Seconds()*(1-fade) }
	add(&m.written, float64(c.Work.Written-m.last.Work.Written))
	add(&m.settled, float64(c.Work.settled()-m.last.Work.settled()))
	add(&m.wire, float64(c.Wire-m.last.Wire))
	add(&m.waiting, (c.Waiting - m.last.Waiting).Seconds())
	add(&m.writing, (c.Writing - m.last.Writing).Seconds())
	add(&m.proving, (c.Proving - m.last.Proving).Seconds())
	add(&m.computing, (c.Computing - m.last.Computing).Seconds())
}

// least is how many bytes must have passed before the speed of a disk is
// believed.
const least = 4 << 20

func speed(bytes int64, took time.Duration, side int) float64 {
	if bytes < least || took <= 0 {
		return 0
	}
	return float64(bytes) / took.Seconds() * float64(max(side, 1))
}

func (m *Meter) work(c Counts) Work {
	w := c.Work
	if m.weight > 0 {
		w.WriteRate, w.SettleRate, w.WireRate = m.written/m.weight, m.settled/m.weight, m.wire/m.weight
	}
	w.ZeroRate = speed(w.Zeroed, c.Zeroing, 1)
	w.ReadRate = speed(c.Read, c.Reading, c.Readers)
	w.ReadZerosRate = speed(c.ReadZeros, c.ReadingZero, c.Readers)
	w.Watched = m.watched.Seconds()
	w.Brake = m.brake()
	return w
}

// brake is what most time goes into of late. Where workers wait for the link,
// who reads back meanwhile is not in the way.
func (m *Meter) brake() string {
	disk := m.writing
	if m.written < 1 {
		disk += m.proving
	}
	switch most := max(m.waiting, disk, m.computing); {
	case most <= 0:
		return ""
	case most == m.waiting:
		return BrakeLink
	case most == disk:
		return BrakeDisk
	}
	return BrakeProcessor
}
