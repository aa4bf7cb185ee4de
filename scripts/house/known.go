package main

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// known is what may be over its limit: figures by rule and place.
type known map[finding]int

// parseKnown reads lines of rule, place and figure; # begins a comment.
func parseKnown(text []byte) (known, error) {
	k := known{}
	for s, n := bufio.NewScanner(bytes.NewReader(text)), 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		var f finding
		if _, err := fmt.Sscanf(line, "%s %s %d", &f.rule, &f.place, &f.figure); err != nil {
			return nil, fmt.Errorf("line %d: want a rule, a place and a figure: %w", n, err)
		}
		if !slices.Contains(rules, f.rule) {
			return nil, fmt.Errorf("line %d: unknown rule %q", n, f.rule)
		}
		figure := f.figure
		f.figure = 0
		if _, twice := k[f]; twice {
			return nil, fmt.Errorf("line %d: %s %s stands there twice", n, f.rule, f.place)
		}
		k[f] = figure
	}
	return k, nil
}

func (f finding) key() finding { return finding{rule: f.rule, place: f.place} }

// compare says what is over a limit and not known, over what is known, or
// below it.
func (k known) compare(over []finding) []string {
	var out []string
	found := map[finding]bool{}
	for _, f := range over {
		found[f.key()] = true
		allowed, ok := k[f.key()]
		unit := limits[f.rule].unit
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s %s: %d, at most %d %s", f.rule, f.place, f.figure, limits[f.rule].most, unit))
		case f.figure > allowed:
			out = append(out, fmt.Sprintf("%s %s: %d, was %d and may only shrink", f.rule, f.place, f.figure, allowed))
		case f.figure < allowed:
			out = append(out, fmt.Sprintf("%s %s: %d, known as %d: lower it (go run ./scripts/house -lower)", f.rule, f.place, f.figure, allowed))
		}
	}
	for f := range k {
		if !found[f] {
			out = append(out, fmt.Sprintf("%s %s: within its limit now: take its line out (go run ./scripts/house -lower)", f.rule, f.place))
		}
	}
	slices.Sort(out)
	return out
}

// lowered is what remains known: nothing is added, and no figure grows.
func (k known) lowered(over []finding) known {
	out := known{}
	for _, f := range over {
		if allowed, ok := k[f.key()]; ok {
			out[f.key()] = min(allowed, f.figure)
		}
	}
	return out
}

const knownHead = `# What is over a limit of scripts/house: rule, place, figure. No line is added
# and no figure grows; "go run ./scripts/house -lower" takes out what has gone.
`

// bytes writes the file that parseKnown reads.
func (k known) bytes() []byte {
	var lines []string
	for f, figure := range k {
		lines = append(lines, fmt.Sprintf("%s %s %d\n", f.rule, f.place, figure))
	}
	slices.Sort(lines)
	return []byte(knownHead + strings.Join(lines, ""))
}
