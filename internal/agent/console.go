package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// console shows lines on every console that the kernel has. Each has its own
// writer: a serial line with nobody at its other end must not hold up a boot.
type console struct {
	names []string // "tty0", "ttyS0"
	outs  []*consoleOut
	plate nameplate
}

type consoleOut struct {
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

// openConsoles opens all that active (a file of sysfs) names, and
// /dev/console where it names none.
func openConsoles(ctx context.Context, active, dev string) *console {
	text, _ := os.ReadFile(active)
	names := strings.Fields(string(text))
	if len(names) == 0 {
		names = []string{"console"}
	}
	c := &console{}
	for _, name := range names {
		fd, err := unix.Open(filepath.Join(dev, filepath.Base(name)), unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		c.names = append(c.names, name)
		// Virtual terminals are tty and digits; serial lines are ttyS0, hvc0, ...
		live := strings.Trim(strings.TrimPrefix(name, "tty"), "0123456789") == "" && strings.HasPrefix(name, "tty")
		c.add(ctx, os.NewFile(uintptr(fd), name), live)
	}
	return c
}

func (c *console) add(ctx context.Context, w io.Writer, live bool) {
	o := &consoleOut{w: w, live: live, lines: make(chan string, 256)}
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

// line shows a whole line. A screen gets it wrapped at words; a serial line as
// it is, so that its log can be searched.
func (c *console) line(s string) {
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

// progress shows how far a step is, at once if that is the first of a phase.
func (c *console) progress(s string, first bool) {
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

// indent is where the text of a line begins, behind "[   12.34] ".
const indent = 11

// wrap breaks a line at words so that no piece has more than width cells. The
// pieces behind the first are indented.
func wrap(s string, width, indent int) []string {
	var lines []string
	line := []rune(s)
	for len(line) > width {
		at := width
		for i := width; i > indent; i-- {
			if line[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(line[:at]), " "))
		rest := strings.TrimLeft(string(line[at:]), " ")
		line = []rune(strings.Repeat(" ", indent) + rest)
	}
	return append(lines, string(line))
}

// put queues s. A console that does not keep up loses lines.
func (o *consoleOut) put(s string) {
	select {
	case o.lines <- s:
	default:
	}
}

// drain waits until all is written, at most for d.
func (c *console) drain(d time.Duration) {
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

// Levels of the kernel log (linux/kern_levels.h).
const (
	kmsgError   = 3 // what a quiet console still shows
	kmsgWarning = 4
	kmsgInfo    = 6
	kmsgDebug   = 7
)

// kmsgLimit cuts a line before the kernel does (LOG_LINE_MAX, about 976).
const kmsgLimit = 900

// kmsg writes to the kernel log, where dmesg and the journal of the new
// system find it.
type kmsg struct {
	mu sync.Mutex
	w  io.Writer // nil: there is none
}

func openKmsg() *kmsg {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return &kmsg{}
	}
	return &kmsg{w: f}
}

func (k *kmsg) write(level int, s string) {
	if k.w == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// One write is one record.
	line := fmt.Sprintf("<%d>gild: %s", level, clean(s))
	_, _ = io.WriteString(k.w, line[:min(len(line), kmsgLimit)])
}

// kmsgHandler is a slog.Handler on the kernel log.
type kmsgHandler struct {
	out    *kmsg
	level  slog.Level
	prefix string
}

// Enabled implements slog.Handler.
func (h *kmsgHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h *kmsgHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message + h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	level := kmsgInfo
	switch {
	case r.Level >= slog.LevelError:
		level = kmsgError
	case r.Level >= slog.LevelWarn:
		level = kmsgWarning
	case r.Level < slog.LevelInfo:
		level = kmsgDebug
	}
	h.out.write(level, b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *kmsgHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.prefix += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return &with
}

// WithGroup implements slog.Handler; a log this small has no groups.
func (h *kmsgHandler) WithGroup(string) slog.Handler { return h }
