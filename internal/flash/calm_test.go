package flash

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A system that demands chunks without end holds up all other work while it
// starts, by a bounded time for each piece, and not at all afterwards.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Flight{demand: pressure{gate: make(chan struct{}, 1)}}
		f.Move = func(context.Context, func() error) error { return nil }
		yields := func(spare bool) time.Duration {
			start := time.Now()
			if err := f.yield(t.Context(), spare); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		if took := yields(true); took != 0 {
			t.Errorf("before a system runs a worker waited %v", took)
		}
		f.demand.begin(time.Now())
		if took := yields(false); took != longestCalm {
			t.Errorf("right after the system began a worker waited %v; want %v", took, longestCalm)
		}
		stop := make(chan struct{})
		defer close(stop)
		go func() { // it reads on and on
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					f.demand.mu.Lock()
					f.demand.last = time.Now()
					f.demand.mu.Unlock()
				}
			}
		}()
		time.Sleep(100 * time.Millisecond) // it has begun
		if took := yields(false); took < longestYield || took > longestYield+longestCalm {
			t.Errorf("while the system starts a worker waited %v; want some %v", took, longestYield)
		}
		if took := yields(true); took < startsFor-10*time.Second || took > startsFor {
			t.Errorf("a spare worker waited %v; want it back when the system has started, after %v", took, startsFor)
		}
		for range 10 {
			if took := yields(false); took != 0 {
				t.Errorf("after the start a worker waited %v", took)
			}
		}
	})
}

// Spare workers leave the cores to a system that starts, as long as it has use
// for all of them.
func TestYieldTheCores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Flight{demand: pressure{gate: make(chan struct{}, 1)}}
		f.Move = func(context.Context, func() error) error { return nil }
		var idle atomic.Bool
		f.Spare = idle.Load
		start := time.Now()
		f.demand.begin(start)
		time.Sleep(2 * busyFor)
		if !f.busy() {
			t.Error("a system that computes is not busy")
		}
		idle.Store(true)
		if f.busy() {
			t.Error("a system that leaves cores idle, and demands nothing, is busy")
		}
		idle.Store(false)
		if err := f.yield(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < startsFor || took > startsFor+sparePause {
			t.Errorf("a spare worker was back after %v; want %v, however busy the cores", took, startsFor)
		}
	})
}
