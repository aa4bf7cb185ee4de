package machines

import (
	"testing"
)

func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		text string
		want place
	}{
		{"", place{}},
		{"17", place{revision: 17}},
		{"17.2", place{17, 2}},
		{"-1", place{}},
		{"17.-2", place{}},
		{"17.x", place{}},
		{"x", place{}},
		{"99999999999999999999", place{}},
	} {
		got := parsePlace(tt.text)
		if got != tt.want {
			t.Errorf("parsePlace(%q) = %+v; want %+v", tt.text, got, tt.want)
		}
		if got != (place{}) && got.String() != tt.text {
			t.Errorf("%+v is written %q; want %q", got, got, tt.text)
		}
	}
}
