package screen

import (
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// The rate follows a change, the time left does not jump with it.
func TestPace(t *testing.T) {
	const mb = 1_000_000
	now := time.Unix(1_800_000_000, 0)
	var p pace
	var line string
	done := int64(0)
	run := func(seconds int, rate int64) {
		for range 4 * seconds {
			now = now.Add(250 * time.Millisecond)
			done += rate / 4
			line, _ = p.line(now, api.Progress{Phase: "write", Done: done, Total: 4000 * mb, Wire: done})
		}
	}
	for _, tt := range []struct {
		seconds int
		rate    int64
		want    string
	}{
		{1, 100 * mb, "  2 %  0.1 of 4.0 GB  100 MB/s"}, // too soon for the time left
		{4, 100 * mb, " 12 %  0.5 of 4.0 GB  100 MB/s  0:35 left"},
		{2, 0, " 12 %  0.5 of 4.0 GB  63 MB/s  0:55 left"},
		{5, 0, " 12 %  0.5 of 4.0 GB  stalled for 7 s"},
		{60, 50 * mb, " 87 %  3.5 of 4.0 GB  50 MB/s  0:10 left"},
		{11, 50 * mb, "100 %  4.0 of 4.0 GB"},
	} {
		run(tt.seconds, tt.rate)
		if !strings.HasPrefix(line, "write     [") || !strings.HasSuffix(line, tt.want) {
			t.Errorf("after %d s at %d: %q; want its end %q", tt.seconds, tt.rate, line, tt.want)
		}
	}
	line, first := p.line(now, api.Progress{Phase: "read back", Total: 4000 * mb})
	if want := "  0 %  0.0 of 4.0 GB"; !first || !strings.HasSuffix(line, want) {
		t.Errorf("the next phase begins with %q, first = %v; want its end %q", line, first, want)
	}
	line, _ = p.line(now, api.Progress{Phase: "seal", Unanswered: 31})
	if want := "seal       disk silent for 31 s"; line != want {
		t.Errorf("a phase without bytes = %q; want %q", line, want)
	}
}

var figures = regexp.MustCompile(`\d+:[0-5]\d(:[0-5]\d)? left$`)

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
			if rate := p.smoothed(); rate < 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
				t.Fatalf("rate = %v after %+v", rate, r)
			}
			if strings.Contains(line, " left") {
				hours, _, _ := strings.Cut(figures.FindString(line), ":")
				if n, err := strconv.Atoi(hours); err != nil || n > 100 {
					t.Fatalf("line(%+v) = %q: what time is left?", r, line)
				}
			}
		}
	}
}
