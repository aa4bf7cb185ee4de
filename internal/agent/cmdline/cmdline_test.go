package cmdline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Line
	}{
		{"", nil},
		{" \n", nil},
		{"ro quiet\n", Line{{Key: "ro", Bare: true}, {Key: "quiet", Bare: true}}},
		{"root=UUID=1-2 x=", Line{{Key: "root", Value: "UUID=1-2"}, {Key: "x"}}},
		{`a="b c" "d=e f" "g h"`, Line{{Key: "a", Value: "b c"}, {Key: "d", Value: "e f"}, {Key: "g h", Bare: true}}},
		{`a="never closed b`, Line{{Key: "a", Value: "never closed b"}}},
		{`a=b"c d"e f`, Line{{Key: "a", Value: `b"c d"e`}, {Key: "f", Bare: true}}},
		{"=x", Line{{Value: "x"}}},
	} {
		if diff := cmp.Diff(tt.want, Parse(tt.in)); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestReadOnlyRoot(t *testing.T) {
	for in, want := range map[string]bool{
		"": true, "ro": true, "rw": false, "ro rw": false, "rw ro": true, "rw=1": true, "root=ro rw": false,
	} {
		if got := Parse(in).ReadOnlyRoot(); got != want {
			t.Errorf("Parse(%q).ReadOnlyRoot() = %v; want %v", in, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	got, warnings := Parse("ro gild.server=http://a gild.server=http://b:80 gild.rescue gild.debug=0 gild.sever=x").Settings()
	if diff := cmp.Diff(Settings{Server: "http://b:80", Rescue: true}, got); diff != "" {
		t.Errorf("Settings() (-want +got):\n%s", diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "gild.sever") {
		t.Errorf("Settings() warnings = %q; want one that names gild.sever", warnings)
	}
}

// No command line is refused, no byte is invented, and words without quotes
// come back as they were.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "ro quiet", `a="b c" "d=e`, "gild.server=http://x", "\x00\xff=\"", "a\vb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := Parse(s)
		line.Settings()
		line.ReadOnlyRoot()
		var n int
		for _, w := range line {
			n += len(w.Key) + len(w.Value)
		}
		if n > len(s) {
			t.Fatalf("Parse(%q) holds %d bytes of %d", s, n, len(s))
		}
		if strings.ContainsRune(s, '"') {
			return
		}
		var words []string
		for _, w := range line {
			if w.Bare {
				words = append(words, w.Key)
			} else {
				words = append(words, w.Key+"="+w.Value)
			}
		}
		if diff := cmp.Diff(line, Parse(strings.Join(words, " "))); diff != "" {
			t.Fatalf("Parse(%q) joined and parsed again (-first +again):\n%s", s, diff)
		}
	})
}
