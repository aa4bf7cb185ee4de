// Package screen writes what a person at the machine reads.
package screen

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
)

// Console shows lines on every console that the kernel has. Each has its own
// writer: a serial line with nobody at its other end must not hold up a boot.
// The zero Console is one that nobody reads.
type Console struct {
	Plate Nameplate // which machine this is

	names []string // "tty0", "ttyS0"
	outs  []*output
	pace  pace // only the caller of Progress touches it
}

// output is one console.
type output struct {
	w     io.Writer
	live  bool // a screen: lines are wrapped, progress is redrawn in place
	lines chan string

	mu       sync.Mutex
	progress time.Time // of the last progress line
	open     bool      // the cursor is behind a live line
}

// How often progress is shown: on a screen in place, so that a person sees that
// it lives; on a serial line, where it piles up in somebody's log, less often.
const (
	redrawEvery = time.Second
	lineEvery   = 10 * time.Second
)

// Open opens all consoles that active (a file of sysfs) names, and /dev/console
// where it names none. They are written to until ctx is done.
func Open(ctx context.Context, active, dev string) *Console {
	text, _ := os.ReadFile(active)
	names := strings.Fields(string(text))
	if len(names) == 0 {
		names = []string{"console"}
	}
	c := &Console{}
	for _, name := range names {
		fd, err := unix.Open(filepath.Join(dev, filepath.Base(name)), unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		c.names = append(c.names, name)
		// Virtual terminals are tty and digits; serial lines are ttyS0, hvc0, ...
		live := strings.Trim(strings.TrimPrefix(name, "tty"), "0123456789") == "" && strings.HasPrefix(name, "tty")
		c.Add(ctx, os.NewFile(uintptr(fd), name), live)
	}
	return c
}

// Names are the names of the consoles that were opened, as in /dev.
func (c *Console) Names() []string { return c.names }

// Add shows everything on w too, until ctx is done. A live one is a screen.
func (c *Console) Add(ctx context.Context, w io.Writer, live bool) {
	o := &output{w: w, live: live, lines: make(chan string, 256)}
	c.outs = append(c.outs, o)
	go func() {
		for {
			select {
			case s := <-o.lines:
				_, _ = io.WriteString(o.w, s)
			case <-ctx.Done():
				return
			}
		}
	}()
}

// Line shows a whole line. A screen gets it wrapped at words; a serial line as
// it is, so that its log can be searched.
func (c *Console) Line(s string) {
	for _, o := range c.outs {
		text := s
		if o.live {
			text = strings.Join(wrap(s, screenWidth, indent), "\r\n")
		}
		o.mu.Lock()
		begin := ""
		if o.open {
			o.open, begin = false, "\r\x1b[K"
		}
		o.put(begin + text + "\r\n")
		o.mu.Unlock()
	}
}

// Stamped shows a line behind the seconds since the kernel started.
func (c *Console) Stamped(uptime float64, line string) {
	c.Line(fmt.Sprintf("[%8.2f] %s", uptime, line))
}

// Advise shows a person before the screen what to do about a cause, and
// which machine this is: what was said of it when it started has long left the
// screen.
func (c *Console) Advise(cause string) {
	advice := api.Advice(cause, c.Plate.Argument())
	if advice == "" {
		return
	}
	text := "cause: " + cause
	if who := c.Plate.String(); who != "" {
		text += ", on " + who
	}
	for _, s := range []string{text, "what to do: " + advice} {
		margin := strings.Repeat(" ", indent)
		for _, line := range wrap(margin+s, screenWidth, indent) {
			c.Line(line)
		}
	}
}

// Progress shows how far a step is. Not safe for concurrent use.
func (c *Console) Progress(r api.Progress) { c.redraw(c.pace.line(time.Now(), r)) }

// redraw shows a line of progress, at once if that is the first of a phase.
func (c *Console) redraw(s string, first bool) {
	now := time.Now()
	for _, o := range c.outs {
		o.mu.Lock()
		every := lineEvery
		if o.live {
			every = redrawEvery
		}
		switch {
		case !first && now.Sub(o.progress) < every:
		case o.live:
			o.open, o.progress = true, now
			o.put("\r\x1b[K" + s)
		default:
			o.progress = now
			o.put(s + "\r\n")
		}
		o.mu.Unlock()
	}
}

// put queues s. A console that does not keep up loses lines.
func (o *output) put(s string) {
	select {
	case o.lines <- s:
	default:
	}
}

// Drain waits until all is written, at most for d.
func (c *Console) Drain(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		waiting := 0
		for _, o := range c.outs {
			waiting += len(o.lines)
		}
		if waiting == 0 {
			time.Sleep(5 * time.Millisecond) // for the line that was taken last
			return
		}
	}
}
