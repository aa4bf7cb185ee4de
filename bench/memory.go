package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memoryWatch follows the largest resident set of each process of a pipeline,
// children included. The kernel's own account at a process's end (ru_maxrss) is
// of no use: it begins with the size of the process that started it.
type memoryWatch struct {
	peak map[int]int64 // bytes, by process id; of the watching goroutine until done
	stop chan struct{}
	done chan struct{}
}

// lookEvery is short beside any run, and a look costs some tens of
// microseconds.
const lookEvery = 50 * time.Millisecond

func watchMemory(pids []int) *memoryWatch {
	w := &memoryWatch{peak: make(map[int]int64), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			for _, pid := range pids {
				w.look(pid)
			}
			select {
			case <-tick.C:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

// look reads one process and its children. One that has ended is passed over.
func (w *memoryWatch) look(pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	if peak, ok := highWater(string(status)); ok {
		w.peak[pid] = peak // it never shrinks, but for an exec, which is another program
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return
	}
	for child := range strings.FieldsSeq(string(children)) {
		if id, err := strconv.Atoi(child); err == nil {
			w.look(id)
		}
	}
}

// end stops watching and returns the sum.
func (w *memoryWatch) end() (sum int64) {
	close(w.stop)
	<-w.done
	for _, peak := range w.peak {
		sum += peak
	}
	return sum
}

// highWater reads VmHWM of /proc/PID/status (proc(5)), bytes. A process that is
// ending has none.
func highWater(status string) (int64, bool) {
	_, rest, ok := strings.Cut(status, "\nVmHWM:")
	if !ok {
		return 0, false
	}
	value, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	return kib << 10, err == nil
}
