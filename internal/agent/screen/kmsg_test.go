package screen

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestKmsgCutsAndCleans(t *testing.T) {
	var b bytes.Buffer
	k := NewKmsg(&b)
	k.Write(KmsgWarning, "a\nb\x1b[2J"+strings.Repeat("x", 2000))
	if got := b.String(); len(got) != kmsgLimit || !strings.HasPrefix(got, "<4>gild: a b?[2Jxx") {
		t.Errorf("kmsg = %d bytes, %.30q; want %d, cleaned", len(got), got, kmsgLimit)
	}
	b.Reset()
	k.Logger(slog.LevelInfo).With("link", "eth0").Warn("lost", "error", "x")
	if got := b.String(); got != "<4>gild: lost link=eth0 error=x" {
		t.Errorf("kmsg = %q", got)
	}
}
