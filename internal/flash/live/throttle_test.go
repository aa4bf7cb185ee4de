package live

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A system that demands chunks without end holds up all other work while it
// starts, by a bounded time for each piece, and not at all afterwards.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle(nil)
		yields := func(spare bool) time.Duration {
			start := time.Now()
			if err := throttle.Yield(t.Context(), spare); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		if took := yields(true); took != 0 {
			t.Errorf("before a system runs a worker waited %v", took)
		}
		throttle.Begin(time.Now())
		if took := yields(false); took != LongestPause {
			t.Errorf("right after the system began a worker waited %v; want %v", took, LongestPause)
		}
		stop := make(chan struct{})
		defer close(stop)
		go func() { // it reads on and on
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					throttle.mu.Lock()
					throttle.last = time.Now()
					throttle.mu.Unlock()
				}
			}
		}()
		time.Sleep(100 * time.Millisecond) // it has begun
		if took := yields(false); took < longestYield || took > longestYield+LongestPause {
			t.Errorf("while the system starts a worker waited %v; want some %v", took, longestYield)
		}
		if took := yields(true); took < StartsFor-10*time.Second || took > StartsFor {
			t.Errorf("a spare worker waited %v; want it back when the system has started, after %v", took, StartsFor)
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
		var idle atomic.Bool
		throttle := NewThrottle(idle.Load)
		start := time.Now()
		throttle.Begin(start)
		time.Sleep(2 * busyFor)
		if !throttle.Busy() {
			t.Error("a system that computes is not busy")
		}
		idle.Store(true)
		if throttle.Busy() {
			t.Error("a system that leaves cores idle, and demands nothing, is busy")
		}
		idle.Store(false)
		if err := throttle.Yield(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < StartsFor || took > StartsFor+sparePause {
			t.Errorf("a spare worker was back after %v; want %v, however busy the cores", took, StartsFor)
		}
	})
}
