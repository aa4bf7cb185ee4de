package history

import (
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
)

// Took is how long the end of a flash took, for the time left of those to come.
type Took struct {
	Finish float64 `json:"finish,omitempty"` // seconds from the last byte read back to the handoff
	Start  float64 `json:"start,omitempty"`  // seconds from the handoff to the sign of life
	// Read and ReadZeros are how fast it was read back, bytes a second.
	Read      float64 `json:"read,omitempty"`
	ReadZeros float64 `json:"readZeros,omitempty"`
}

// TookOf is what a receipt and the last progress before it tell.
func TookOf(r *api.Receipt, p *api.Progress) (t Took) {
	for _, phase := range []string{"seal", "grow", "identity", "handoff"} {
		t.Finish += r.PhaseTimes[phase]
	}
	if p != nil && p.Work != nil {
		t.Read, t.ReadZeros = p.Work.ReadRate, p.Work.ReadZerosRate
	}
	return t
}

// Started takes note of the sign of life of a machine that has been in a state
// for a time.
func (t *Took) Started(state string, after time.Duration) {
	if state == api.MachineHandingOff {
		t.Start = after.Seconds()
	}
}

// Usual is the median of what flashes took; what is not known of one counts
// for nothing.
func Usual(all []Took) progress.Usual {
	median := func(of func(Took) float64) float64 {
		var known []float64
		for _, t := range all {
			if v := of(t); v > 0 {
				known = append(known, v)
			}
		}
		if len(known) == 0 {
			return 0
		}
		slices.Sort(known)
		return known[len(known)/2]
	}
	seconds := func(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }
	return progress.Usual{
		Finish:    seconds(median(func(t Took) float64 { return t.Finish })),
		Start:     seconds(median(func(t Took) float64 { return t.Start })),
		Read:      median(func(t Took) float64 { return t.Read }),
		ReadZeros: median(func(t Took) float64 { return t.ReadZeros }),
	}
}
