package memory

import (
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

const (
	// lookEvery is how often the memory in use is looked at.
	lookEvery = 250 * time.Millisecond
	// Of a hundred parts of the limit: above tightAt the collector has more and
	// more to do and the process is about to pass it, below easyAt it has room
	// again.
	tightAt, easyAt = 90, 75
)

// Guard says when memory is short, so that there is less to hold.
type Guard struct {
	// Limit is what the process may use, bytes; 0 or math.MaxInt64: no limit.
	Limit int64
	// Used returns the bytes that cannot be freed; nil: of this process.
	Used func() int64
	// Tight are called when memory has become short, again at each look for as
	// long as it is, and with false when it is not any more.
	Tight []func(tight bool)
	// Alarms are told when it has become short, and when it is not any more.
	Alarms interface {
		Raise(kind, text string)
		Clear(kind string)
	}
	// Looks says when to look; nil: four times a second.
	Looks <-chan time.Time
}

// Run looks until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	looks, used := g.Looks, g.Used
	if looks == nil {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		looks = tick.C
	}
	if used == nil {
		used = inUse
	}
	for tight := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-looks:
		}
		if g.Limit <= 0 || g.Limit == math.MaxInt64 {
			continue
		}
		now := used()
		switch {
		case now >= g.Limit/100*tightAt, tight && now >= g.Limit/100*easyAt:
			tight = true
			g.tell(true)
		case tight:
			tight = false
			g.tell(false)
		}
	}
}

func (g *Guard) tell(tight bool) {
	for _, f := range g.Tight {
		f(tight)
	}
	if !tight {
		g.Alarms.Clear(api.AlarmMemory)
		return
	}
	g.Alarms.Raise(api.AlarmMemory, fmt.Sprintf(
		"memory is short, the limit is %d MiB: idle connections are closed, unregistered machines are not recorded", g.Limit>>20))
}

// inUse is what the last collection left, and the stacks, in bytes.
func inUse() (all int64) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			all += int64(s.Value.Uint64())
		}
	}
	return all
}
