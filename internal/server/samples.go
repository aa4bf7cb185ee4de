package server

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// sampleEvery is how far apart samples are at least.
const sampleEvery = time.Second

// sample gathers the throughput of a flash under way. The caller holds r.mu.
func (r *room) sample(m fleet.Record) {
	p := m.Progress
	if p == nil || m.Armed == nil {
		return
	}
	s := r.samples[m.ID]
	if s.plan != m.Armed.Plan.ID {
		s = planSamples{plan: m.Armed.Plan.ID}
	}
	next := api.Sample{At: m.LastSeen, Phase: p.Phase, Done: p.Done, Wire: p.Wire, Rate: p.Rate}
	if n := len(s.list); n > 0 && next.At.Sub(s.list[n-1].At) < sampleEvery {
		return
	}
	s.list = fleet.AddSample(s.list, next)
	r.samples[m.ID] = s
}

// samplesOf returns what was gathered of one flash.
func (r *room) samplesOf(id, plan string) []api.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.samples[id]; s.plan == plan {
		return slices.Clone(s.list)
	}
	return nil
}
