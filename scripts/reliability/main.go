// Reliability writes docs/reliability.md from what the tests that inject faults
// recorded, which it runs with their full counts.
//
// Results of earlier runs stay until the same test is run again: a row names
// the commit that it was run on.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gild-dev/gild/test/reliability"
)

const (
	results  = "test/reliability/results.jsonl"
	document = "docs/reliability.md"
)

// runs are the commands behind the table. A flag that sets a count is what
// makes a run of minutes out of one of seconds.
func runs() []string {
	const flash = "go test ./internal/flash -count=1 -timeout 0 -run "
	const guest = "go test ./test/powercut -count=1 -timeout 0 -run "
	const room = "go test ./test/room -count=1 -timeout 0 -run "
	return []string{
		flash + "^TestRandomPowerCuts$ -cuts 10000000",
		flash + "^TestLiveSimulated$ -simulations 1000000",
		flash + "^TestLiveOnALyingDisk$ -livelies 1000",
		flash + "^TestLyingDiskIsFoundOrRepaired$ -lies 10000",
		flash + "^TestForgeriesAreRefused$ -forgeries 1000000",
		flash + "^(TestHostileSourceSealsNothing|TestTruncatedBlobIsNoSuccess)$ -forgeries 2000000",
		flash + "^TestEveryCallFailsInTurn$",
		flash + "^TestResume -breaks 1000",
		// As root, after make build. Whole machines: where they are emulated, a
		// hundred boots or kills take an hour.
		guest + "^TestReplay$ -points 1000 -boots 10",
		guest + "^TestKill$ -cycles 6 -pxe 1",
		// As root, after make build: processes, so hundreds of them.
		room + "^TestRoom$ -agents 1000",
		room + "^TestOneOfTwoServersIsLost$",
		room + "^TestLongStorm$",
		"go test ./internal/server/fleet -count=1 -timeout 0 -run ^TestRandomFleets$ -fleets 1000000",
	}
}

func main() {
	only := flag.String("run", "", "run only commands that hold this `text`")
	render := flag.Bool("render", false, "run nothing, write the document")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := error(nil)
	if !*render {
		err = runAll(ctx, *only)
	}
	if err = errors.Join(err, write()); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

// runAll runs the commands and merges what they record into the results.
func runAll(ctx context.Context, only string) error {
	dir, err := os.MkdirTemp("", "gild-reliability-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rows := filepath.Join(dir, "rows.jsonl")
	var failed error
	for _, command := range runs() {
		if !strings.Contains(command, only) {
			continue
		}
		fmt.Println(command)
		args := strings.Fields(command)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), reliability.File+"="+rows)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", command, err))
		}
	}
	fresh, err := read(rows)
	if err != nil {
		return errors.Join(failed, err)
	}
	old, err := read(results)
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, save(merge(old, fresh)))
}

// read returns the rows of a file; one that is not there has none.
func read(path string) ([]reliability.Row, error) {
	p, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []reliability.Row
	for n, line := range bytes.Split(bytes.TrimSpace(p), []byte("\n")) {
		var r reliability.Row
		if len(line) == 0 {
			continue
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n+1, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// merge replaces the rows of tests that were run again.
func merge(old, fresh []reliability.Row) []reliability.Row {
	rows := slices.DeleteFunc(old, func(o reliability.Row) bool {
		return slices.ContainsFunc(fresh, func(f reliability.Row) bool { return f.Test == o.Test })
	})
	rows = append(rows, fresh...)
	groups := reliability.Groups()
	slices.SortStableFunc(rows, func(a, b reliability.Row) int {
		return cmp.Or(cmp.Compare(slices.Index(groups, a.Group), slices.Index(groups, b.Group)), cmp.Compare(a.Test, b.Test))
	})
	return rows
}

func save(rows []reliability.Row) error {
	var out bytes.Buffer
	for _, r := range rows {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	return os.WriteFile(results, out.Bytes(), 0o644)
}

func write() error {
	rows, err := read(results)
	if err != nil {
		return err
	}
	var doc bytes.Buffer
	if err := page(&doc, rows); err != nil {
		return err
	}
	return os.WriteFile(document, doc.Bytes(), 0o644)
}
