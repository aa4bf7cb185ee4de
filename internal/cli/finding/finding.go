// Package finding is one answer of a command that looks whether something is
// well.
package finding

import (
	"fmt"
	"strings"

	"github.com/gild-dev/gild/internal/cli/term"
)

// Levels of a finding.
const (
	OK      = "ok"
	Warning = "warning" // it works, but not everywhere, or not for ever
	Problem = "problem" // it does not work
	Unknown = "unknown" // could not be looked at
)

// Finding is the answer of one check.
type Finding struct {
	Check  string `json:"check"`
	Level  string `json:"level"`
	Says   string `json:"says"`
	Remedy string `json:"remedy,omitempty"` // what to do; empty when all is well
}

// Print prints a finding, and below it what to do.
func (f Finding) Print(c *term.Console) {
	fmt.Fprintf(c.Stdout, "%-8s %-19s %s\n", f.Level, f.Check, term.Printable(f.Says))
	if f.Remedy != "" {
		fmt.Fprintf(c.Stdout, "%-8s %-19s -> %s\n", "", "", term.Printable(f.Remedy))
	}
}

// Problems counts those that are problems.
func Problems(all []Finding) (n int) {
	for _, f := range all {
		if f.Level == Problem {
			n++
		}
	}
	return n
}

// String is a finding in one line, for an error or a test.
func (f Finding) String() string {
	return strings.TrimSuffix(f.Level+": "+f.Says+" -> "+f.Remedy, " -> ")
}
