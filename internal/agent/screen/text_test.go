package screen

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ä": "plain ä", "a\nb\tc": "a b c", "\x1b]0;x\x07": "?]0;x?", "\u202eevil": "?evil", "\xff": "?", "\x00": "?",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", []string{""}},
		{"short", []string{"short"}},
		{"exactly ten", []string{"exactly", "   ten"}},
		{"[1] one two three", []string{"[1] one", "   two", "   three"}},
		{"0123456789abcdefghijk", []string{"0123456789", "   abcdefg", "   hijk"}},
		{"   one two three", []string{"   one two", "   three"}},
		{"äöüäöüäöü ß", []string{"äöüäöüäöü", "   ß"}},
	} {
		if diff := cmp.Diff(tt.want, wrap(tt.in, 10, 3)); diff != "" {
			t.Errorf("wrap(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("[   12.34] disk failed: no disk is what serial=X means", 79)
	f.Add(strings.Repeat("x", 300), 20)
	f.Add("  \u00a0 \xff   ", 12)
	f.Fuzz(func(t *testing.T, s string, width int) {
		s, width = Clean(s), indent+1+min(max(width, 0), 200)
		letters := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		lines := wrap(s, width, indent)
		if got := letters(strings.Join(lines, "")); got != letters(s) {
			t.Errorf("wrap(%q, %d) = %q: letters were lost", s, width, lines)
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > width {
				t.Errorf("wrap(%q, %d): a line has %d cells: %q", s, width, n, line)
			}
		}
	})
}
