package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
)

// result is one row of results.json: the medians of a tool's runs at one work
// over one link.
type result struct {
	Work   workName `json:"work"`
	Link   linkName `json:"link"`
	Tool   string   `json:"tool"`
	Runs   int      `json:"runs"`
	Wall   float64  `json:"wall_s"`
	CPU    float64  `json:"cpu_s"`
	Memory float64  `json:"rss_mb"`  // 10^6 bytes
	Wire   float64  `json:"wire_mb"` // 10^6 bytes
	// Equal says that after every run the target held all that the image's file
	// system uses and all that lies outside of it. EqualBytes says that every byte
	// of the disk was the stored image's.
	Equal      bool               `json:"equal"`
	EqualBytes bool               `json:"equal_bytes"`
	WallMin    float64            `json:"wall_min_s"`
	WallMax    float64            `json:"wall_max_s"`
	Phases     map[string]float64 `json:"phases_s,omitempty"`
	Login      float64            `json:"login_s,omitempty"` // work boot: power-on to the golden login
}

// summarize makes a row of samples; there is one at least.
func summarize(work workName, link linkName, tool string, samples []sample) result {
	of := func(value func(sample) float64) []float64 {
		all := make([]float64, len(samples))
		for i, s := range samples {
			all[i] = value(s)
		}
		return all
	}
	walls := of(func(s sample) float64 { return s.wall })
	r := result{
		Work: work, Link: link, Tool: tool, Runs: len(samples),
		Wall:    round(median(walls), 3),
		WallMin: round(slices.Min(walls), 3), WallMax: round(slices.Max(walls), 3),
		CPU:    round(median(of(func(s sample) float64 { return s.cpu })), 3),
		Memory: round(median(of(func(s sample) float64 { return float64(s.memory) / 1e6 })), 1),
		Wire:   round(median(of(func(s sample) float64 { return float64(s.wire) / 1e6 })), 1),
		Equal:  true, EqualBytes: true,
	}
	for _, s := range samples {
		r.Equal = r.Equal && s.inUse
		r.EqualBytes = r.EqualBytes && s.bytes
	}
	for _, phase := range slices.Sorted(maps.Keys(samples[0].phases)) {
		if r.Phases == nil {
			r.Phases = make(map[string]float64)
		}
		r.Phases[phase] = round(median(of(func(s sample) float64 { return s.phases[phase] })), 3)
	}
	return r
}

// median is the middle of the values, or the mean of the two in the middle; 0
// of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// round keeps some digits behind the point.
func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}

// readResults reads a results file; one that is not there has no rows.
func readResults(path string) ([]result, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []result
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

// merge puts new rows in the place of the old ones of the same work, link and
// tool.
func merge(old, rows []result) []result {
	merged := slices.DeleteFunc(slices.Clone(old), func(r result) bool {
		return slices.ContainsFunc(rows, func(n result) bool { return n.Work == r.Work && n.Link == r.Link && n.Tool == r.Tool })
	})
	merged = append(merged, rows...)
	order := []workName{full, delta, boot}
	slices.SortStableFunc(merged, func(a, b result) int {
		return cmp.Compare(slices.Index(order, a.Work), slices.Index(order, b.Work))
	})
	return merged
}

// writeResults writes rows, one a line.
func writeResults(path string, rows []result) error {
	var text bytes.Buffer
	text.WriteString("[\n")
	for i, r := range rows {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		text.WriteString("  ")
		text.Write(line)
		if i < len(rows)-1 {
			text.WriteByte(',')
		}
		text.WriteByte('\n')
	}
	text.WriteString("]\n")
	return os.WriteFile(path, text.Bytes(), 0o644)
}
