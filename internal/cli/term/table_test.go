package term

import (
	"slices"
	"testing"
)

func TestWrapped(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  []string
	}{
		{"a b c", 3, []string{"a b", "c"}},
		{"abcdefgh", 6, []string{"abcdef", "  gh"}},
		{"", 4, []string{""}},
		{"one two\nthree", 80, []string{"one two", "three"}},
		{"日本語", 2, []string{"日", "本", "語"}},
		{"日本語", 1, []string{"日本語"}},
		{"    x", 3, []string{"", "x"}},
	} {
		if got := wrapped(tt.text, tt.width); !slices.Equal(got, tt.want) {
			t.Errorf("wrapped(%q, %d) = %q; want %q", tt.text, tt.width, got, tt.want)
		}
	}
}
