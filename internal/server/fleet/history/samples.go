package history

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// sampleEvery is how far apart samples are at least.
const sampleEvery = time.Second

// Samples are the throughput of the flash that a machine was last armed for, as
// it is reported. The zero value has none.
type Samples struct {
	plan string
	list []api.Sample
}

// Add takes how far the flash of a plan is at a time; nil: nobody has said so.
func (s Samples) Add(plan string, p *api.Progress, at time.Time) Samples {
	if p == nil {
		return s
	}
	if s.plan != plan {
		s = Samples{plan: plan}
	}
	if n := len(s.list); n == 0 || at.Sub(s.list[n-1].At) >= sampleEvery {
		sample := api.Sample{At: at, Phase: p.Phase, Done: p.Done, Wire: p.Wire, Rate: p.Rate}
		if w := p.Work; w != nil && p.Phase == "write" {
			sample.Done, sample.Rate = w.Written, w.WriteRate // zeros cost nothing
		}
		s.list = AddSample(s.list, sample)
	}
	return s
}

// Of returns what was gathered of the flash of a plan.
func (s Samples) Of(plan string) []api.Sample {
	if s.plan != plan {
		return nil
	}
	return slices.Clone(s.list)
}
