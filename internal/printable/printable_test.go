package printable_test

import (
	"testing"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/printable"
)

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct{ mark, drop string }{
		"":                               {"", ""},
		"Größe 漢字 é😀 €":                  {"Größe 漢字 é😀 €", "Größe 漢字 é😀 €"},
		"a\x1b[2Jb":                      {"a?[2Jb", "a[2Jb"},
		"a\x00b\nc\td\re\x7f":            {"a?b?c?d?e?", "abcde"},
		"a\u009b31mb":                    {"a?31mb", "a31mb"},
		"\u202eevil\u202c \u2066x\u2069": {"?evil? ?x?", "evil x"},
		"zero\u200bwidth\ufeff":          {"zero?width?", "zerowidth"},
		"soft\u00adhyphen":               {"soft?hyphen", "softhyphen"},
		"line\u2028paragraph\u2029":      {"line?paragraph?", "lineparagraph"},
		"private\ue000 tag\U000e0041":    {"private? tag?", "private tag"},
		"bad\xff\xc3utf8\xed\xa0\x80":    {"bad??utf8???", "badutf8"},
		"\ufffd":                         {"?", ""},
	} {
		if got := printable.Mark(in); got != want.mark {
			t.Errorf("Mark(%q) = %q; want %q", in, got, want.mark)
		}
		if got := printable.Drop(in); got != want.drop {
			t.Errorf("Drop(%q) = %q; want %q", in, got, want.drop)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "short": "short", " a\n\tb  c\x1b ": "a b c?", "0123456789": "0123456789", "01234567890": "0123456789...",
		"012345678ä": "012345678...", "01234567ä": "01234567ä",
	} {
		if got := printable.Line(in, 10); got != want {
			t.Errorf("Line(%q) = %q; want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[2Jb\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for name, clean := range map[string]func(string) string{"Mark": printable.Mark, "Drop": printable.Drop} {
			got := clean(s)
			if !utf8.ValidString(got) || clean(got) != got {
				t.Errorf("%s(%q) = %q", name, s, got)
			}
			for _, r := range got {
				if !printable.Is(r) {
					t.Errorf("%s(%q) leaves %q", name, s, r)
				}
			}
		}
	})
}
