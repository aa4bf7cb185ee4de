package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v; want %v", tt.values, got, tt.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	samples := []sample{
		{wall: 3, cpu: 1, memory: 10e6, wire: 1e6, phases: map[string]float64{"write": 2}, verdict: verdict{true, true}},
		{wall: 1, cpu: 3, memory: 30e6, wire: 3e6, phases: map[string]float64{"write": 4}, verdict: verdict{true, false}},
		{wall: 2, cpu: 2, memory: 20e6, wire: 2e6, phases: map[string]float64{"write": 3}, verdict: verdict{true, true}},
	}
	want := result{
		Work: full, Link: gigabit, Tool: "gild", Runs: 3, Wall: 2, WallMin: 1, WallMax: 3, CPU: 2, Memory: 20, Wire: 2,
		Equal: true, EqualBytes: false, Phases: map[string]float64{"write": 3},
	}
	if diff := cmp.Diff(want, summarize(full, gigabit, "gild", samples)); diff != "" {
		t.Errorf("summarize (-want +got):\n%s", diff)
	}
	samples[1].inUse = false
	if summarize(full, gigabit, "gild", samples).Equal {
		t.Error("summarize: equal although one run was not")
	}
}

// A row takes the place of the same tool's only.
func TestMergeAndFile(t *testing.T) {
	old := []result{{Work: boot, Tool: "a", Runs: 3}, {Work: full, Tool: "a", Runs: 3}, {Work: full, Tool: "other", Runs: 3}}
	merged := merge(old, []result{{Work: full, Tool: "a", Runs: 5}})
	want := []result{{Work: full, Tool: "other", Runs: 3}, {Work: full, Tool: "a", Runs: 5}, {Work: boot, Tool: "a", Runs: 3}}
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Errorf("merge (-want +got):\n%s", diff)
	}
	path := filepath.Join(t.TempDir(), "results.json")
	if rows, err := readResults(path); err != nil || rows != nil {
		t.Errorf("readResults of no file = %v, %v; want none", rows, err)
	}
	if err := writeResults(path, merged); err != nil {
		t.Fatal(err)
	}
	read, err := readResults(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(merged, read); diff != "" {
		t.Errorf("written and read (-want +got):\n%s", diff)
	}
}
