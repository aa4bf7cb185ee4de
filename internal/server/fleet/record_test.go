package fleet_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/server/fleet"
)

// What an older server stored is read whole. The file is a record of the first
// version that told records and views apart, with every field set, as the one
// before it stored them.
func TestRecordOfAnOlderServer(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "record-2026-11.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r fleet.Record
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("reading it: %v", err)
	}
	var was, is map[string]any
	if err := json.Unmarshal(text, &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(jsonText(t, r)), &is); err != nil {
		t.Fatal(err)
	}
	// Never stored, but made for each answer.
	delete(was, "specRevision")
	for _, field := range slices.Sorted(maps.Keys(was)) {
		if !reflect.DeepEqual(was[field], is[field]) {
			t.Errorf("%s was stored as %v and is read as %v", field, was[field], is[field])
		}
	}
}
