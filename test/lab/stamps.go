package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// stamps writes a console with the time of each line: seconds since power-on,
// and seconds of processor that QEMU has taken by then, which tell a machine
// that works from one that waits and do not depend on what else the host does.
type stamps struct {
	to    io.Writer
	since time.Time
	pid   atomic.Int64 // of QEMU, once it is known
	line  []byte
}

// longestStamped bounds a line, bytes: a firmware's screen has no newlines.
const longestStamped = 400

func newStamps(to io.Writer) *stamps { return &stamps{to: to, since: time.Now()} }

// Write takes the console as the machine sent it.
func (s *stamps) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != '\n' && len(s.line) < longestStamped {
			s.line = append(s.line, b)
			continue
		}
		if text := bytes.TrimSpace(s.line); len(text) > 0 {
			fmt.Fprintf(s.to, "%8.2f %8.2f  %s\n", time.Since(s.since).Seconds(), processorSeconds(int(s.pid.Load())), text)
		}
		s.line = s.line[:0]
	}
	return len(p), nil
}

// processorSeconds is what all threads of a process have taken of the host's
// processors, in user mode and in the kernel (proc(5), stat); 0 where there is
// no such process.
func processorSeconds(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest) // from field 3, the state
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

// ticksPerSecond is the unit of proc(5)'s times on Linux for every architecture
// of ours: sysconf(_SC_CLK_TCK).
const ticksPerSecond = 100
