// Package chunks knows how far each chunk of an image has come onto a disk.
//
// A Map hands out what is to be done next: chunks to be fetched, looked for,
// zeroed, read back, written again. A full flash, a resume, a delta and a
// system that runs from an incomplete disk all drive the same map; they differ
// only in what is unknown at the start and in who asks. Nothing in here reads
// or writes a disk.
package chunks

import (
	"context"
	"fmt"
	"sync"

	"github.com/gild-dev/gild/internal/golden"
)

// Map is the state of every chunk of one disk. It is safe for concurrent use.
type Map struct {
	Work   *Work
	Proofs *Proofs
	System *System

	// Pause, when set, is what a caller that has to wait does instead of
	// sleeping until a state has changed. Nothing is locked in it: a simulation
	// that is one goroutine has the others act there.
	Pause func()

	table *golden.Table
	held  func(i int) bool

	mu      sync.Mutex
	changed sync.Cond // a chunk changed its state, or a waiter is to give up
	state   []State

	moved func(from, to State) // of tests: sees every move
}

// New returns a map in which every chunk is absent. held names the chunks that
// wait in memory until the disk is sealed; those of them that are zeros are
// there already.
func New(t *golden.Table, held func(i int) bool) *Map {
	m := &Map{table: t, held: held, state: make([]State, t.Len())}
	m.changed.L = &m.mu
	m.Work = &Work{m: m}
	m.Proofs = &Proofs{m: m, ever: newBitmap(t.Len()), early: newBitmap(t.Len())}
	m.System = &System{m: m, over: map[int]*overwrite{}, seen: newBitmap(t.Len()), sees: newBitmap(t.Len())}
	for i := range m.state {
		m.state[i] = Absent
		if t.Zero(i) && held(i) {
			m.state[i] = Written
		}
	}
	return m
}

// Get returns the state of chunk i.
func (m *Map) Get(i int) State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state[i]
}

// Unwritten returns the raw bytes that are not yet on the disk.
func (m *Map) Unwritten() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var n int64
	for i, s := range m.state {
		if s < Written {
			_, length := m.table.Extent(i)
			n += length
		}
	}
	return n
}

// move changes the state of chunk i. A change that is none of the table is a
// fault of the engine's own: it stops before it writes anything by a map that
// is wrong. The disk does not boot then. m.mu is held.
func (m *Map) move(i int, to State) {
	if to >= Verified {
		to = m.System.settle(i, to)
	}
	from := m.state[i]
	if moves[from][to] == "" {
		panic(fmt.Sprintf("chunk %d: nothing leads from %v to %v", i, from, to))
	}
	m.state[i] = to
	if m.moved != nil {
		m.moved(from, to)
	}
	m.Work.moved(i, from, to)
	m.Proofs.moved(i, from, to)
	m.System.moved(i, to)
	if !to.underWay() {
		m.changed.Broadcast()
	}
}

// await calls try until it says that it is done, or until ctx is, and sleeps
// between two calls until a state has changed. m.mu is held in try.
func (m *Map) await(ctx context.Context, try func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if try() || ctx.Err() != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.changed.Broadcast()
	})
	defer stop()
	for ctx.Err() == nil {
		m.sleep()
		if try() {
			return
		}
	}
}

// sleep returns when a state may have changed. m.mu is held, but not meanwhile.
func (m *Map) sleep() {
	if m.Pause == nil {
		m.changed.Wait()
		return
	}
	m.mu.Unlock()
	defer m.mu.Lock()
	m.Pause()
}
