package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// Every link of the documents leads somewhere.
func TestLinks(t *testing.T) {
	if err := run(os.DirFS("../.."), ""); err != nil {
		t.Error(err)
	}
}

func tree(readme string) fstest.MapFS {
	return fstest.MapFS{
		"README.md": {Data: []byte(readme)}, "CHANGELOG.md": {Data: []byte("# Changes\n")}, "CONTRIBUTING.md": {Data: []byte("# Work\n")},
		"docs/a.md": {Data: []byte("# A page\n\n## What's `it`, then?\n\ntext\n\n## Twice\n\n## Twice\n\n" +
			"[front](../README.md#top) ![p](p.png)\n")},
		"docs/p.png": {Data: []byte("picture")},
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	for link, want := range map[string]string{
		"docs/a.md": "", "docs/a.md#whats-it-then": "", "docs/a.md#twice-1": "", "#top": "", "https://example.org/#x": "",
		"docs/b.md": "there is no docs/b.md", "docs/a.md#twice-2": "no such heading", "#bottom": "no such heading", "a.md": "there is no a.md",
	} {
		err := run(tree("# Top\n\n[here]("+link+")\n"), "")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("a link to %s: %v; want %q", link, err, want)
		}
	}
}

func TestSite(t *testing.T) {
	out := t.TempDir()
	if err := run(tree("# Top\n\n[here](docs/a.md#twice), [there](docs/a.md)\n"), out); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"index.html":  `<a href="docs/a.html#twice">here</a>, <a href="docs/a.html">there</a>`,
		"docs/a.html": `<a href="../index.html#top">front</a>`,
		"index.js":    `"at":"docs/a.html#twice-1"`,
		"docs/p.png":  "picture",
		"style.css":   "main",
		"search.js":   "sections",
	} {
		b, err := os.ReadFile(filepath.Join(out, file))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s, %v: %s; want %s", file, err, b, want)
		}
	}
}
