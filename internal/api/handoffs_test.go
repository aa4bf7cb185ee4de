package api

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What cannot be computed from the list of handoffs says the same as it.
func TestHandoffsAreOneList(t *testing.T) {
	names := HandoffNames()
	for _, request := range []any{Defaults{}, FlashRequest{}} {
		field, ok := reflect.TypeOf(request).FieldByName("Handoff")
		enum := strings.Split(strings.TrimPrefix(field.Tag.Get("enum"), ","), ",")
		if !ok || !slices.Equal(enum, names) {
			t.Errorf("%T.Handoff permits %q; want %q", request, enum, names)
		}
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
