// Package outlook estimates the flashes of a whole room.
//
// What one still takes depends on those that share its link, and on what
// flashes of its image took before.
package outlook

import (
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
)

// Room knows what of every machine the time left of one depends on. The zero
// value knows none. It is safe for concurrent use.
type Room struct {
	mu     sync.Mutex
	took   map[string]map[string]history.Took // by image digest and machine
	image  map[string]string                  // digest, by machine
	usual  map[string]progress.Usual          // by digest, of took; missing: to be made anew
	flying map[string]*progress.Work          // by machine
	ease   map[string]float64                 // of flying
	eased  time.Time
	// samples are the throughput of each flash as it is reported.
	samples map[string]history.Samples
}

// Reset forgets how all machines are; what a flash under way had before, it
// still has.
func (r *Room) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took, r.image, r.usual, r.flying = nil, nil, nil, nil
}

// Forget forgets one.
func (r *Room) Forget(id string) {
	r.Take(&fleet.Record{ID: id})
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.samples, id)
}

// Samples are the throughput of a machine's flash by a plan so far.
func (r *Room) Samples(id, plan string) []api.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.samples[id].Of(plan)
}

// Take takes in how a machine is now.
func (r *Room) Take(m *fleet.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flying == nil {
		r.took, r.image, r.usual = map[string]map[string]history.Took{}, map[string]string{}, map[string]progress.Usual{}
		r.flying = map[string]*progress.Work{}
	}
	if r.samples == nil {
		r.samples = map[string]history.Samples{}
	}
	if m.Armed != nil {
		r.samples[m.ID] = r.samples[m.ID].Add(m.Armed.Plan.ID, m.Progress, m.LastSeen)
	}
	delete(r.flying, m.ID)
	if p := m.Progress; p != nil && p.Work != nil && p.Phase == "write" && m.Armed != nil && m.Trouble == nil && m.Stuck.IsZero() {
		r.flying[m.ID] = p.Work
	}
	digest := ""
	if m.System != nil && m.Took != (history.Took{}) {
		digest = m.System.Digest
	}
	old := r.image[m.ID]
	if old == digest && (digest == "" || r.took[digest][m.ID] == m.Took) {
		return
	}
	delete(r.took[old], m.ID)
	delete(r.usual, old)
	delete(r.image, m.ID)
	if digest == "" {
		return
	}
	if r.took[digest] == nil {
		r.took[digest] = map[string]history.Took{}
	}
	r.image[m.ID], r.took[digest][m.ID] = digest, m.Took
	delete(r.usual, digest)
}

// easeEvery is how old the shares of the link may be.
const easeEvery = time.Second

// With is what operators see of a machine at a time, with its estimate.
func (r *Room) With(m api.Machine, now time.Time) api.Machine {
	m.Estimate = r.estimate(&m, now)
	return m
}

// estimate is how far a machine is; nil: nothing is under way.
func (r *Room) estimate(m *api.Machine, now time.Time) *progress.Estimate {
	f := m.Progress.Facts()
	var digest string
	switch {
	case m.State == api.MachineHandingOff && !m.Live:
		f = progress.Facts{Left: max(now.Sub(m.Since), time.Millisecond)}
		if m.System != nil {
			digest = m.System.Digest
		}
	case m.State != api.MachineFlashing && !m.Live:
		return nil
	case m.Armed != nil:
		digest = m.Armed.Plan.Image.Digest
	}
	f.Live = m.Live
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Usual, f.Ease = r.usualOf(digest), r.easeOf(m.ID, now)
	return progress.Of(f)
}

// usualOf is what flashes of an image took. r.mu is held.
func (r *Room) usualOf(digest string) progress.Usual {
	usual, known := r.usual[digest]
	if !known && len(r.took[digest]) > 0 {
		var all []history.Took
		for _, t := range r.took[digest] {
			all = append(all, t)
		}
		usual = history.Usual(all)
		r.usual[digest] = usual // made of what is there
	}
	return usual
}

// easeOf is the machine's of progress.Ease. r.mu is held.
func (r *Room) easeOf(id string, now time.Time) float64 {
	if age := now.Sub(r.eased); r.ease == nil || age < 0 || age >= easeEvery {
		var ids []string
		var works []*progress.Work
		for id, w := range r.flying {
			ids, works = append(ids, id), append(works, w)
		}
		r.ease, r.eased = map[string]float64{}, now
		for i, ease := range progress.Ease(works) {
			r.ease[ids[i]] = ease
		}
	}
	return r.ease[id]
}
