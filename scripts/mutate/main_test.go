package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Code that has moved on must take its mutations along, or `make mutate` tests
// nothing when it is wanted.
func TestMutationsFindTheirPlaces(t *testing.T) {
	for _, m := range mutations() {
		src, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(src, []byte(m.from)); n != 1 {
			t.Errorf("%s: %s holds its place %d times; want once: %q", m.name, m.file, n, m.from)
		}
	}
}
