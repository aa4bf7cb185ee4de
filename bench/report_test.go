package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGoals(t *testing.T) {
	rows := []result{
		{Work: full, Link: loopback, Tool: "gild-noreadback", Wall: 4, CPU: 2},
		{Work: full, Link: loopback, Tool: baseline, Wall: 10, CPU: 4},
		{Work: delta, Link: gigabit, Tool: "gild", Wall: 2, Wire: 10},
		{Work: delta, Link: gigabit, Tool: "casync", Wall: 8, Wire: 5},
		{Work: boot, Link: loopback, Tool: "gild-instant", Wall: 4},
		{Work: boot, Link: loopback, Tool: "gild-instant-16g", Wall: 5},
	}
	got := map[string]bool{}
	for _, g := range goals(rows, setting{Stored: map[string]int64{"gild": 80, "partclone": 100}}) {
		got[g.what] = g.met
	}
	for what, met := range map[string]bool{
		"full, loopback: faster than the pipe, no read-back":        true,  // 2.5
		"full, loopback: CPU of the pipe's, no read-back":           true,  // 0.5
		"delta, 1 Gbit/s: faster than casync":                       false, // 4
		"delta, 1 Gbit/s: bytes of casync's":                        false, // 2
		"stored bytes of partclone's, default level":                true,
		"boot, instant: network up to handoff, 16 GiB of data more": false, // 1.25
	} {
		if is, ok := got[what]; !ok || is != met {
			t.Errorf("goal %q is met: %v, judged: %v; want %v", what, is, ok, met)
		}
	}
	if len(got) != 6 {
		t.Errorf("goals of what was not measured: %v", got)
	}
}

func TestWriteReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	rows := []result{{Work: full, Link: loopback, Tool: baseline, Wall: 10, CPU: 4, Runs: 5, Equal: true, EqualBytes: true}}
	if err := os.WriteFile(path, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeReport(path, rows, setting{}); err == nil {
		t.Error("writeReport to a page without marks succeeded")
	}
	if err := os.WriteFile(path, []byte("above\n"+reportBegin+"\nold\n"+reportEnd+"\nbelow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time changes nothing
		if err := writeReport(path, rows, setting{}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if !strings.HasPrefix(page, "above\n") || !strings.HasSuffix(page, "\nbelow\n") || strings.Contains(page, "old") ||
		strings.Count(page, "| pipe-direct | 5 | 10.00 |") != 1 {
		t.Errorf("the page is\n%s", page)
	}
}
