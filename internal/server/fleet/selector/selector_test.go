package selector

import (
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"rack": "b7", "role": "web", "name": "n1", "in": "x"}
	for _, test := range []struct {
		in, out string
		want    bool
	}{
		{"", "", true},
		{"  ", "", true},
		{"rack=b7", "rack=b7", true},
		{" rack = b7 , role != db ", "rack=b7,role!=db", true},
		{"rack=b8", "rack=b8", false},
		{"rack!=b7", "rack!=b7", false},
		{"room!=x", "room!=x", true},
		{"rack in (b7, b8)", "rack in (b7,b8)", true},
		{"rack in(b8)", "rack=b8", false},
		{"rack", "rack", true},
		{"!rack", "!rack", false},
		{"!room,in", "!room,in", true},
		{"in in (x)", "in=x", true},
		{"name=n1", "name=n1", true},
	} {
		s, err := Parse(test.in)
		if err != nil {
			t.Errorf("Parse(%q) = %v", test.in, err)
			continue
		}
		if s.String() != test.out || s.Matches(labels) != test.want {
			t.Errorf("Parse(%q) = %q, matches %v; want %q, %v", test.in, s, s.Matches(labels), test.out, test.want)
		}
	}
}

func TestSelectorRefused(t *testing.T) {
	for in, want := range map[string]string{
		"rack=":                  "byte 6: want a value",
		"=b7":                    "byte 1: want the name of a label",
		"rack=b7,":               "byte 9: want a condition after the comma",
		"rack=b7,,x":             "byte 9: want the name of a label",
		"rack==b7":               "byte 6: want a value",
		"rack=b7 b8":             "byte 9: want a comma or the end",
		"rack in b7":             "byte 9: want ( after in",
		"rack in (b7":            "byte 12: want a comma or )",
		"rack in ()":             "byte 10: want a value",
		"!rack=b7":               "byte 6: want a comma or the end",
		"rack=b\n7":              "byte 7: want a comma or the end",
		strings.Repeat("x", 513): "selector of 513 bytes",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v; want %q", in, err, want)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"rack=b7,!x", "a in (b,c),d!=e", "in in(in)", "a=", "\xff=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Parse(in)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q -> %q -> %q, %v", in, s, again, err)
		}
	})
}
