package screen

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
)

// A line has the figures of the estimate, or says that nothing moves.
func TestPace(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(1_800_000_000, 0)
	var p pace
	work := progress.Work{
		Data: 694 * mib, Zeros: 1354 * mib, Zeroed: 1354 * mib, Prove: 694 * mib, SettleRate: 10 * mib, WriteRate: 10 * mib,
		ReadRate: 10 * mib,
	}
	for _, tt := range []struct {
		after   time.Duration
		written int64
		watched float64
		want    string
	}{
		{time.Second, 10 * mib, 1, "  0 %  10 of 694 MiB  10.0 MiB/s  ~"}, // too soon for the time left
		{time.Second, 200 * mib, 20, " 14 %  200 of 694 MiB  10.0 MiB/s  ~2 min to handoff"},
		{4 * time.Second, 200 * mib, 20, " 14 %  200 of 694 MiB  10.0 MiB/s  ~2 min to handoff"},
		{time.Second, 200 * mib, 20, " 14 %  200 of 694 MiB  stalled for 5 s"},
		{time.Second, 694 * mib, 20, " 50 %  694 of 694 MiB"},
	} {
		now = now.Add(tt.after)
		w := work
		w.Written, w.Watched = tt.written, tt.watched
		line, _ := p.line(now, api.Progress{Phase: "write", Done: 1354*mib + tt.written, Total: 2048 * mib, Wire: tt.written / 3, Work: &w})
		if !strings.HasPrefix(line, "write     [") || !strings.HasSuffix(line, tt.want) {
			t.Errorf("%q; want its end %q", line, tt.want)
		}
	}
	line, first := p.line(now, api.Progress{Phase: "read back", Total: 2048 * mib})
	if want := "  0 %  0.0 of 2.0 GiB  ~"; !first || !strings.HasSuffix(line, want) {
		t.Errorf("the next phase begins with %q, first = %v; want its end %q", line, first, want)
	}
	line, _ = p.line(now, api.Progress{Phase: "seal", Unanswered: 31})
	if want := "seal       disk silent for 31 s"; line != want {
		t.Errorf("a phase without bytes = %q; want %q", line, want)
	}
}

// Whatever is reported, at whatever times, the line has no absurd figure and
// its room on the screen.
func TestPaceIsNeverAbsurd(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	extremes := []int64{math.MinInt64, -1, 0, 1, 1 << 20, 3e9, 7e12, math.MaxInt64}
	pick := func() int64 {
		if rng.IntN(3) == 0 {
			return extremes[rng.IntN(len(extremes))]
		}
		return rng.Int64N(1 << rng.IntN(50))
	}
	phases := []string{"write", "read back", "", "a phase that nobody has heard of\x1b[2J", "\u202e\xff"}
	for range 2000 {
		var p pace
		now := time.Unix(1_800_000_000, 0)
		total := pick()
		for range 40 {
			now = now.Add(time.Duration(rng.Int64N(int64(20*time.Second))) - 2*time.Second) // also backwards
			r := api.Progress{Phase: phases[rng.IntN(2)], Done: pick(), Total: total, Wire: pick(), Rate: math.NaN()}
			if rng.IntN(10) == 0 {
				r.Phase, r.Total, r.Unanswered = phases[rng.IntN(len(phases))], pick(), rng.IntN(400)
			}
			line, _ := p.line(now, r)
			if n := len([]rune(line)); n > screenWidth {
				t.Fatalf("line(%+v) has %d cells: %q", r, n, line)
			}
			if strings.ContainsAny(line, "-\x1b\u202e") || strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
				t.Fatalf("line(%+v) = %q", r, line)
			}
		}
	}
}
