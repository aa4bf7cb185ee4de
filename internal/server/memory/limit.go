// Package memory keeps a server within the memory that it may use.
package memory

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/server/budget"
)

// Set has the garbage collector keep the process below its limit, and returns
// that in bytes with what it comes from. A limit of the environment
// (GOMEMLIMIT) stays.
func Set() (limit int64, from string) {
	if own := debug.SetMemoryLimit(-1); own != math.MaxInt64 {
		return own, "GOMEMLIMIT"
	}
	limit, from = Limit(os.ReadFile)
	debug.SetMemoryLimit(limit)
	return limit, from
}

// Limit is what a server may use on this host, in bytes: a part of what its
// control groups give, as the pages of the state's database count there too,
// half of the host's memory, or the budget, whichever is least.
func Limit(read func(path string) ([]byte, error)) (limit int64, from string) {
	limit, from = budget.Memory, "the budget"
	if host := total(read); host > 0 && host/2 < limit {
		limit, from = host/2, "half of the host's memory"
	}
	if group := controlGroup(read); group > 0 && group/5*4 < limit {
		limit, from = group/5*4, "its control group"
	}
	return limit, from
}

// total is the host's memory, 0 when it is not known (proc(5)).
func total(read func(string) ([]byte, error)) int64 {
	p, err := read("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(p) {
		if f := strings.Fields(string(line)); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			return number(f[1]) << 10
		}
	}
	return 0
}

// controlGroup is the least that the groups of the process and those above them
// give, 0 when there is no limit (cgroups(7)).
func controlGroup(read func(string) ([]byte, error)) (least int64) {
	p, err := read("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	take := func(file string) {
		if p, err := read(file); err == nil {
			if n := number(strings.TrimSpace(string(p))); n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
	}
	for line := range bytes.Lines(p) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			switch {
			case parts[0] == "0":
				take(path.Join("/sys/fs/cgroup", dir, "memory.max"))
				take(path.Join("/sys/fs/cgroup", dir, "memory.high"))
			case parts[1] == "memory":
				take(path.Join("/sys/fs/cgroup/memory", dir, "memory.limit_in_bytes"))
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// number reads a number, 0 for anything else: "max" is no limit, and so is what
// version 1 writes for that, near the greatest number.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n >= math.MaxInt64>>1 {
		return 0
	}
	return n
}
