package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The descriptions in the tree are those of the comments.
func TestFieldsAreOfTheComments(t *testing.T) {
	const root = "../.."
	want, err := fields(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, output))
	if err != nil || !bytes.Equal(bytes.TrimSpace(want), bytes.TrimSpace(got)) {
		t.Errorf("%s is not what the comments say, %v: go generate ./internal/server/door/operators", output, err)
	}
	if !bytes.Contains(got, []byte(`"Preview.lost": "what is on it, line by line, and goes"`)) || !bytes.Contains(got, []byte(`"FlashRequest.holdReboot": "holdReboot makes`)) {
		t.Error("a line comment or a field of an embedded type is missing")
	}
}
