package order

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/flash"
)

// record plays a flash to a recorder, a report every quarter of a second.
func record(begin time.Time, phases ...flash.Progress) []api.Sample {
	now, wire := begin, int64(0)
	r := newRecorder(now)
	for _, p := range phases {
		for done := min(p.Total, int64(p.Rate)/4); ; done = min(p.Total, done+int64(p.Rate)/4) {
			now = now.Add(250 * time.Millisecond)
			if p.Phase == flash.PhaseWrite {
				wire = done / 2
			}
			r.add(now, flash.Progress{Phase: p.Phase, Done: done, Total: p.Total, Wire: wire})
			if done == p.Total {
				break
			}
		}
	}
	return r.samples()
}

func TestRecorder(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name  string
		bytes int64
		least int // samples
	}{
		{"a second", 100e6, 4}, {"a minute", 6e9, 60}, {"an hour", 360e9, 60}, {"a week", 60e12, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := record(begin,
				flash.Progress{Phase: flash.PhasePrepare},
				flash.Progress{Phase: flash.PhaseWrite, Total: tt.bytes, Rate: 100e6},
				flash.Progress{Phase: flash.PhaseReadBack, Total: tt.bytes, Rate: 400e6},
				flash.Progress{Phase: flash.PhaseSeal})
			if len(got) < tt.least || len(got) > maxSamples {
				t.Fatalf("%d samples; want %d to %d", len(got), tt.least, maxSamples)
			}
			last := map[string]api.Sample{}
			for i, s := range got {
				want := map[string]float64{"write": 100e6, "read back": 400e6}[s.Phase]
				if want == 0 || s.Rate < 0.7*want || s.Rate > 1.01*want {
					t.Errorf("sample %d: %.0f bytes a second of %q; want %.0f", i, s.Rate, s.Phase, want)
				}
				if i > 0 && !s.At.After(got[i-1].At) {
					t.Errorf("sample %d is at %v, the one before at %v", i, s.At, got[i-1].At)
				}
				last[s.Phase] = s
			}
			if got[0].Phase != "write" || last["write"].Done != tt.bytes || last["read back"].Done != tt.bytes ||
				last["read back"].Wire != tt.bytes/2 {
				t.Errorf("the phases end with %+v; want all %d bytes of both", last, tt.bytes)
			}
		})
	}
}

// Whatever the engine reports: few samples, in order, each with a rate that a
// disk could have.
func TestRecorderIsNeverAbsurd(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		now := time.Unix(1_800_000_000, 0)
		r := newRecorder(now)
		for range rng.IntN(4000) {
			now = now.Add(time.Duration(rng.Int64N(1 << rng.IntN(40))))
			r.add(now, flash.Progress{
				Phase: flash.Phase(rng.IntN(1 + rng.IntN(5))), Done: rng.Int64N(1 << (1 + rng.IntN(60))), Total: rng.Int64N(3), Wire: rng.Int64(),
			})
		}
		got := r.samples()
		if len(got) > maxSamples {
			t.Fatalf("%d samples; want at most %d", len(got), maxSamples)
		}
		for i, s := range got {
			if !(s.Rate >= 0) || math.IsInf(s.Rate, 0) || s.Done < 0 || i > 0 && s.At.Before(got[i-1].At) {
				t.Fatalf("sample %d = %+v", i, s)
			}
		}
	}
}
