package room

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// figures is what one run measured.
type figures struct {
	agents, kills int
	took          time.Duration // from the arm of the first to the receipt of the last
	plans         []float64     // seconds until the machine with a processor of its own had its plan
	beats         []float64     // seconds until its heartbeat was answered
	unanswered    int           // of its questions: no server, or 503
	reports       []float64     // seconds that a report of any of the others took
	outage        time.Duration // nobody answered, in sum
	peak          int64         // bytes that the server had resident at most
	cpu           time.Duration // of the server
	needed, wire  int64         // bytes to fetch, and fetched
	events        int           // kept, compared one by one
}

// percentile of values that need not be sorted, p from 0 to 1.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return v[min(len(v)-1, int(p*float64(len(v))))]
}

func (f *figures) String() string {
	ms := func(v []float64) string {
		return fmt.Sprintf("%.0f / %.0f ms of %d", percentile(v, 0.5)*1000, percentile(v, 0.99)*1000, len(v))
	}
	return strings.Join([]string{
		fmt.Sprintf("%d agents, %d kills: all end well in %.1f s, %.1f s of them without a server", f.agents, f.kills, f.took.Seconds(),
			f.outage.Seconds()),
		fmt.Sprintf("%d events compared, none lost, none twice, order kept", f.events),
		fmt.Sprintf("plan answer p50 / p99: %s, and %d questions without an answer", ms(f.plans), f.unanswered),
		"heartbeat p50 / p99: " + ms(f.beats),
		"report p50 / p99, of machines that share two cores with all others: " + ms(f.reports),
		fmt.Sprintf("server: %d MiB resident at most, %.1f s of processor time", f.peak/mib, f.cpu.Seconds()),
		fmt.Sprintf("%.1f MB fetched a machine, %.1f MB needed", float64(f.wire)/1e6/float64(f.agents), float64(f.needed)/1e6/float64(f.agents)),
	}, "\n")
}
