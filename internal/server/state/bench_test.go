package state_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// BenchmarkProgress is one report of progress by each of 400 machines with an
// inventory of 6 kB, 20 at a time. It tells the bytes that the process wrote
// to the disk for one report.
func BenchmarkProgress(b *testing.B) {
	const machines = 400
	// Not a memory file system: the sync is what a report waits for.
	dir, err := os.MkdirTemp("/var/tmp", "gild-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	e, err := etcd.Start(b.Context(), dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, storetest.NICs, nil)
	report := func(i, done int) {
		if _, err := s.Update(b.Context(), fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff), func(m *fleet.Record) ([]api.Event, error) {
			m.Inventory = &api.Inventory{MAC: m.MAC, Product: strings.Repeat("x", 6000)}
			m.Seq++
			m.Progress = &api.Progress{Phase: "write", Done: int64(done), Total: 1 << 40}
			return nil, nil
		}); err != nil {
			b.Error(err)
		}
	}
	for i := range machines {
		report(i, 0)
	}
	before := written(b)
	for n := 0; b.Loop(); n++ {
		var wg sync.WaitGroup
		for w := range 20 {
			wg.Go(func() {
				for i := w; i < machines; i += 20 {
					report(i, n+1)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(written(b)-before)/float64(b.N*machines), "disk-B/report")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/400-reports")
}

// written is how many bytes this process has sent to the disk (proc(5), io).
func written(b *testing.B) int64 {
	p, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	var n int64
	for line := range strings.Lines(string(p)) {
		if text, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			_, _ = fmt.Sscan(text, &n)
		}
	}
	return n
}
