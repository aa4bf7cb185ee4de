// Package ledger counts the work of a flash as it goes on.
package ledger

import (
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/progress"
)

// kind is one kind of bytes: data, or zeros.
type kind struct {
	all    int64        // of the image
	landed atomic.Int64 // written or zeroed
	owned  atomic.Int64 // written by a system: nobody's to bring or to prove
	kept   atomic.Int64 // found right
	prove  atomic.Int64 // to be read back in all
	proved atomic.Int64
	read   atomic.Int64 // to prove or to look
	took   atomic.Int64 // reading that, nanoseconds of all readers
}

// Ledger is the work of a flash, data and zeros apart, and what
// the time goes into. It is safe for concurrent use.
type Ledger struct {
	table       *golden.Table
	readers     int
	data, zeros kind

	// What the time goes into: nanoseconds of all who are at work.
	Zeroing, Waiting, Writing, Proving, Computing atomic.Int64
}

// New counts the image. held names the chunks that wait for the seal, proved
// those that are to be read back, by so many readers side by side.
func New(t *golden.Table, readers int, proved func(i int) bool, held func(i int) bool) *Ledger {
	c := &Ledger{table: t, readers: readers}
	for i := range t.Len() {
		k := c.of(i)
		_, length := t.Extent(i)
		k.all += length
		if !held(i) && proved(i) {
			k.prove.Add(length)
		}
		if t.Zero(i) && held(i) {
			k.landed.Add(length) // the seal's, and nothing to wait for
		}
	}
	return c
}

// of is the kind that chunk i counts for.
func (c *Ledger) of(i int) *kind {
	if c.table.Zero(i) {
		return &c.zeros
	}
	return &c.data
}

// Landed takes note of a chunk that was written or zeroed.
func (c *Ledger) Landed(i int) {
	_, length := c.table.Extent(i)
	c.of(i).landed.Add(length)
}

// Found takes note of a chunk that was found right.
func (c *Ledger) Found(i int) {
	_, length := c.table.Extent(i)
	k := c.of(i)
	k.kept.Add(length)
	k.prove.Add(-length) // to look was to read it back
}

// ForgetFound takes back what probes found: it is looked at again.
func (c *Ledger) ForgetFound() {
	for _, k := range []*kind{&c.data, &c.zeros} {
		k.prove.Add(k.kept.Swap(0))
	}
}

// Overwritten takes note of a chunk that a system has made its own.
func (c *Ledger) Overwritten(i int) {
	_, length := c.table.Extent(i)
	k := c.of(i)
	k.owned.Add(length)
	k.prove.Add(-length)
}

// Proved takes note of a chunk that read back right.
func (c *Ledger) Proved(i int) {
	_, length := c.table.Extent(i)
	c.of(i).proved.Add(length)
}

// ExpectProofs says which chunks are still to be read back.
func (c *Ledger) ExpectProofs(list []int) {
	for _, k := range []*kind{&c.data, &c.zeros} {
		k.prove.Store(k.proved.Load())
	}
	for _, i := range list {
		_, length := c.table.Extent(i)
		c.of(i).prove.Add(length)
	}
}

// Read takes note of a chunk that was read and looked at since start, and for
// how long of that the disk was waited for.
func (c *Ledger) Read(i int, start time.Time, disk time.Duration) {
	_, length := c.table.Extent(i)
	all := time.Since(start)
	k := c.of(i)
	k.read.Add(length)
	k.took.Add(int64(all))
	c.Proving.Add(int64(disk))
	c.Computing.Add(int64(all - disk))
}

// At is all of it at one moment.
func (c *Ledger) At(wire int64) progress.Counts {
	whole := func(k *kind, n int64) int64 { return min(n, k.all) }
	data := max(c.data.all-c.data.owned.Load(), 0)
	prove, proveZeros := max(c.data.prove.Load(), 0), max(c.zeros.prove.Load(), 0)
	kept := min(c.data.kept.Load(), data)
	return progress.Counts{
		Work: progress.Work{
			Data: data, Written: min(c.data.landed.Load(), data-kept), Kept: kept,
			Zeros: c.zeros.all, Zeroed: whole(&c.zeros, c.zeros.landed.Load()+c.zeros.kept.Load()+c.zeros.owned.Load()),
			Prove: prove, Proved: min(c.data.proved.Load(), prove),
			ProveZeros: proveZeros, ProvedZeros: min(c.zeros.proved.Load(), proveZeros),
		},
		Wire: wire, Zeroing: time.Duration(c.Zeroing.Load()),
		Read: c.data.read.Load(), Reading: time.Duration(c.data.took.Load()),
		ReadZeros: c.zeros.read.Load(), ReadingZero: time.Duration(c.zeros.took.Load()), Readers: c.readers,
		Waiting: time.Duration(c.Waiting.Load()), Writing: time.Duration(c.Writing.Load()),
		Proving: time.Duration(c.Proving.Load()), Computing: time.Duration(c.Computing.Load()),
	}
}
