// Package reliability records what a test injected, for the table in
// docs/reliability.md.
//
// A test calls Record once, at its end. The table is made from the rows by
// `make reliability`, which also runs the tests with their full counts.
package reliability

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// File is the environment variable that names the file rows are appended to.
// Without it nothing is written.
const File = "GILD_RELIABILITY"

// The groups of the table, in its order.
const (
	PowerCuts     = "Power cuts"
	Instant       = "A system on a disk that is still being written"
	LyingDisk     = "A disk that lies"
	HostileSource = "A source that lies"
	Faults        = "Calls that fail or hang"
	Resume        = "Resume"
	Guest         = "In a real guest"
	Room          = "A room of machines"
	Storm         = "A storm over a room"
	Fleet         = "The right machine"
)

// Groups lists them.
func Groups() []string {
	return []string{PowerCuts, Instant, LyingDisk, HostileSource, Faults, Resume, Guest, Room, Storm, Fleet}
}

// Row is one line of the table.
type Row struct {
	Test    string  `json:"test"` // its name; filled in by Record
	Group   string  `json:"group"`
	What    string  `json:"what"` // what was injected
	Count   int64   `json:"count"`
	Unit    string  `json:"unit"`           // what Count counts
	Seed    uint64  `json:"seed,omitempty"` // 0: nothing in it is random
	Result  string  `json:"result"`
	Failed  bool    `json:"failed"`
	Seconds float64 `json:"seconds"`
	Command string  `json:"command"` // repeats exactly this run
	Commit  string  `json:"commit"`  // of the tree it ran on; "+" when that was changed

	// Took becomes Seconds.
	Took time.Duration `json:"-"`
}

// Record appends the row to the file that File names, if it names one.
func Record(t testing.TB, r Row) {
	t.Helper()
	path := os.Getenv(File)
	if path == "" {
		return
	}
	r.Test, r.Failed, r.Seconds, r.Commit = t.Name(), t.Failed(), r.Took.Seconds(), commit(t)
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
}

// commit names the code that the test ran on. Changed results and documents
// do not make it another one.
func commit(t testing.TB) string {
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", args...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	id := git("rev-parse", "--short=12", "HEAD")
	if id == "" {
		return "unknown"
	}
	if git("status", "--porcelain", "--", ":/*.go", ":/go.mod") != "" {
		id += "+"
	}
	return id
}
