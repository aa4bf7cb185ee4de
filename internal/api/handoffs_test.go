package api

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/settings"
)

// What cannot be computed from the list of handoffs says the same as it.
func TestHandoffsAreOneList(t *testing.T) {
	names := HandoffNames()
	if f := settings.Named("handoff"); !slices.Equal(f.Allowed, names) {
		t.Errorf("the setting permits %q; want %q", f.Allowed, names)
	}
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(text), "\n| `--handoff` |")
	row, _, _ = strings.Cut(row, "\n")
	for _, name := range names {
		if !strings.Contains(row, "`"+name+"`") {
			t.Errorf("docs/operations.md, --handoff: %q; want %s in it", row, name)
		}
	}
}
