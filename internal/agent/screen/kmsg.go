package screen

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// Levels of the kernel log (linux/kern_levels.h).
const (
	KmsgError   = 3 // what a quiet console still shows
	KmsgWarning = 4
	KmsgInfo    = 6
	KmsgDebug   = 7
)

// kmsgLimit cuts a line before the kernel does (LOG_LINE_MAX, about 976).
const kmsgLimit = 900

// Kmsg writes to the kernel log, where dmesg and the journal of the new system
// find it. The zero Kmsg writes nowhere. Safe for concurrent use.
type Kmsg struct {
	mu sync.Mutex
	w  io.Writer // nil: there is none
}

// OpenKmsg opens the kernel log; where it cannot be opened, nothing is written.
func OpenKmsg() *Kmsg {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return &Kmsg{}
	}
	return NewKmsg(f)
}

// NewKmsg writes records to w as the kernel takes them, one with each Write.
func NewKmsg(w io.Writer) *Kmsg { return &Kmsg{w: w} }

// Logger returns a log on the kernel log of what is at least of that level.
func (k *Kmsg) Logger(level slog.Level) *slog.Logger {
	return slog.New(&kmsgHandler{out: k, level: level})
}

// Write writes a record of that level, cleaned and cut.
func (k *Kmsg) Write(level int, s string) {
	if k.w == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// One write is one record.
	line := fmt.Sprintf("<%d>gild: %s", level, Clean(s))
	_, _ = io.WriteString(k.w, line[:min(len(line), kmsgLimit)])
}

// kmsgHandler is a slog.Handler on the kernel log.
type kmsgHandler struct {
	out    *Kmsg
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
	level := KmsgInfo
	switch {
	case r.Level >= slog.LevelError:
		level = KmsgError
	case r.Level >= slog.LevelWarn:
		level = KmsgWarning
	case r.Level < slog.LevelInfo:
		level = KmsgDebug
	}
	h.out.Write(level, b.String())
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
