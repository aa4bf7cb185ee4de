package instant

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// coresEvery is over what time it is looked how busy the cores are: long
	// enough for the ticks that the kernel counts in, 1/100 s.
	coresEvery = 500 * time.Millisecond
	// spareShare is how much of the machine's time must be idle that some of
	// it is to spare, one of so many parts.
	spareShare = 4
)

// cores knows whether the machine has processor time to spare. Safe for
// concurrent use.
type cores struct {
	proc string // where proc(5) is mounted

	mu          sync.Mutex
	at          time.Time
	idle, total int64 // ticks of all cores since the start
	free        bool
}

// spare reports whether the machine had time to spare lately. Where that cannot
// be known it has.
func (c *cores) spare(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && now.Sub(c.at) < coresEvery {
		return c.free
	}
	idle, total, ok := coreTicks(c.proc)
	if !ok {
		return true
	}
	c.free = c.at.IsZero() || (idle-c.idle)*spareShare >= total-c.total
	c.at, c.idle, c.total = now, idle, total
	return c.free
}

// coreTicks reads the first line of /proc/stat (proc_stat(5)): user, nice,
// system, idle, iowait, irq, softirq, steal. What follows is part of user and
// nice.
func coreTicks(proc string) (idle, total int64, ok bool) {
	text, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0, 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, false
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		if total += n; i == 3 || i == 4 {
			idle += n
		}
	}
	return idle, total, true
}
