package memory

import (
	"context"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/server/budget"
)

func TestLimit(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
		from  string
	}{
		{"nothing is known", nil, budget.Memory, "the budget"},
		{"a large host", map[string]string{"/proc/meminfo": "MemTotal:       65536000 kB\n"}, budget.Memory, "the budget"},
		{"a small host", map[string]string{"/proc/meminfo": "MemFree: 1 kB\nMemTotal:  1048576 kB\n"}, gib / 2, "half of the host's memory"},
		{"a group", map[string]string{
			"/proc/self/cgroup": "0::/system.slice/gild.service\n", "/sys/fs/cgroup/system.slice/gild.service/memory.max": "536870910\n",
		}, 536870910 / 5 * 4, "its control group"},
		{"a group above", map[string]string{
			"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.high": "100000000\n",
			"/sys/fs/cgroup/a/memory.max": "200000000\n",
		}, 80000000, "its control group"},
		{"version 1", map[string]string{
			"/proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/7\n", "/sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes": "300000000\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 240000000, "its control group"},
		{"no words", map[string]string{"/proc/meminfo": "MemTotal: many kB", "/proc/self/cgroup": "x\n0::\n\n"}, budget.Memory, "the budget"},
	} {
		got, from := Limit(func(path string) ([]byte, error) {
			p, ok := tt.files[path]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(p), nil
		})
		if got != tt.want || from != tt.from {
			t.Errorf("%s: Limit = %d, %s; want %d, %s", tt.name, got, from, tt.want, tt.from)
		}
	}
}

// alarms counts.
type alarms struct{ raised, cleared int }

func (a *alarms) Raise(string, string) { a.raised++ }
func (a *alarms) Clear(string)         { a.cleared++ }

// It is tight near the limit, and until there is room, not only a little less.
func TestGuard(t *testing.T) {
	looks := make(chan time.Time)
	used := make(chan int64, 1)
	var told []bool
	ctx, cancel := context.WithCancel(t.Context())
	g := Guard{
		Limit: 1000, Looks: looks, Used: func() int64 { return <-used }, Alarms: &alarms{},
		Tight: []func(bool){func(tight bool) { told = append(told, tight) }},
	}
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for _, n := range []int64{100, 890, 900, 2000, 760, 740, 890, 900} {
		used <- n
		looks <- time.Time{}
	}
	cancel()
	<-done
	if want := []bool{true, true, true, false, true}; !slices.Equal(told, want) {
		t.Errorf("told %v; want %v", told, want)
	}
	if a := g.Alarms.(*alarms); a.raised != 4 || a.cleared != 1 {
		t.Errorf("the alarm was raised %d times, cleared %d times; want 4, 1", a.raised, a.cleared)
	}
}
