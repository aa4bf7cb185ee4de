package flags

import (
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

func TestLasting(t *testing.T) {
	for text, want := range map[string]int{
		"2h": 7200, "90m": 5400, "10m5s": 605, "24h": 86400, "24h0m0s": 86400, "never": api.NeverExpires,
		"1s": 1,
	} {
		var l Lasting
		if err := l.Set(text); err != nil || int(l) != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, l, err, want)
		}
		again := l
		if err := again.Set(l.String()); err != nil || again != l {
			t.Errorf("Set(%q) = %d, %v; want what it came from", l.String(), again, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1s", "1500ms", "1", "Never", "tomorrow"} {
		var l Lasting
		if err := l.Set(text); err == nil {
			t.Errorf("Set(%q) = %d; want an error", text, l)
		}
	}
}
