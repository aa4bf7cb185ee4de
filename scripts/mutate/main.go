// Mutate tests the tests of the flash engine: it takes one safeguard at a time
// out of the code to show that a test fails without it.
//
// The tree is not touched: `go test -overlay` compiles the changed file in the
// place of the real one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// mutation takes one safeguard away: the one place of the file that reads
// from becomes to.
type mutation struct {
	name, file, from, to string
}

const (
	flashDir  = "internal/flash/"
	chunksDir = "internal/flash/chunks/"
	liveDir   = "internal/flash/live/"
	supplyDir = "internal/flash/supply/"
	diskDir   = "internal/disk/blockdev/"
	goldenDir = "internal/golden/"
)

// mutations lists every flush, hash check, length check and read-back on the
// way from the source to the sealed disk.
func mutations() []mutation {
	flush := func(name, file, message string) mutation {
		return mutation{
			"no flush " + name, flashDir + file,
			"disk.Flush(); err != nil {" + message, "error(nil); err != nil {" + message,
		}
	}
	const fail1, fail2 = "\n\t\treturn fmt.Errorf(\"flushing", "\n\t\t\treturn fmt.Errorf(\"flushing"
	return []mutation{
		flush("of what was zeroed", "medium.go", fail1+":"),
		flush("after the data", "flight.go", fail1+" the data"),
		flush("before the read-back that follows", "follow.go", fail1+" data to be read back"),
		flush("of rewritten data", "proof.go", fail1+" rewritten data"),
		flush("before LBA 0 and after", "medium.go", fail2+":"),

		{
			"LBA 0 is not zeroed first", flashDir + "flight.go", "if err := f.medium.closeGate(ctx); err != nil {\n\t\treturn err",
			"if err := error(nil); err != nil {\n\t\treturn err",
		},
		{
			"old signatures stay", flashDir + "flight.go", "f.medium.zeroProven(ctx, without(f.leftovers(), untouchable)...)",
			"f.medium.zeroProven(ctx, untouchable[:0]...)",
		},
		{"zeros are skipped", flashDir + "workers.go", "w.medium.disk.ZeroRange(start, length)", "w.medium.disk.ZeroRange(start, 0)"},
		{"LBA 0 is written with the head", flashDir + "seal.go", "[][]blockdev.Extent{rest}", "[][]blockdev.Extent{extents}"},
		{"LBA 0 stays when it cannot be proved", flashDir + "seal.go", "errors.Join(err, f.medium.closeGate(ctx))", "errors.Join(err)"},
		{"head and tail are not held back", flashDir + "layout.go", "copy(buf, raw)\n\t}\n\treturn ok", "copy(buf, raw)\n\t}\n\treturn false"},

		{"a chunk's hash is not checked", goldenDir + "decode.go", "if d.table.Hash.Sum(raw) != d.table.Chunk(i).Hash {", "if false {"},
		{"a chunk's length is not checked", goldenDir + "decode.go", "if int64(len(raw)) != length {", "if false {"},
		{"a short write passes", diskDir + "extent.go", "if err == nil && n < len(p) {", "if err == nil && n < 0 {"},
		{"a short read of the medium passes", diskDir + "extent.go", "if n == len(p) {\n\t\treturn nil", "if n >= 0 {\n\t\treturn nil"},
		{"a body that ends early passes", supplyDir + "line.go", "r.at < int64(len(frame)); {", "r.at < int64(len(frame))-1; {"},

		{"nothing is read back", flashDir + "proof.go", "return v == VerifyFull || ", "return "},
		{
			"what was zeroed is not read back", flashDir + "medium.go", "return m.writeProven(ctx, zeros, func() error { return nil })",
			"return ctx.Err()",
		},
		{
			"what reads back wrong passes", flashDir + "medium.go", "return m.table.Hash.Sum(raw) == m.table.Chunk(i).Hash, nil",
			"return true, nil",
		},
		{"zeros that read back wrong pass", flashDir + "medium.go", "return allZero(raw), nil", "return true, nil"},
		{"wrong twice passes", chunksDir + "proofs.go", "again = p.ever.has(i)", "again = false"},
		{"what else a stray write hit is not looked for", flashDir + "proof.go", "if !proofs.TakeAstray() {", "if proofs.TakeAstray(); true {"},
		{
			"what a stray write of the head hit is not looked for", flashDir + "seal.go",
			"f.medium.writeProven(ctx, p, func() error { return f.prover.proveAll(ctx) })",
			"f.medium.writeProven(ctx, p, func() error { return nil })",
		},
		{
			"what a stray LBA 0 hit is not looked for", flashDir + "seal.go", "if err := f.prover.proveAll(ctx); err != nil {",
			"if err := error(nil); err != nil {",
		},
		{
			"what is there already is written again", flashDir + "medium.go", "\t\t\twrong = append(wrong, e)\n\t\t}",
			"\t\t\twrong = extents\n\t\t}",
		},
		{"the head is not read back", flashDir + "medium.go", "if !bytes.Equal(got, want) {", "if !bytes.Equal(got, got) {"},

		{
			"zeros come after what is right was looked for", flashDir + "flight.go", "if f.chunks.Work.Doubtful() && f.job.Move == nil {",
			"if false {",
		},

		{
			"a disk that hangs is waited for", flashDir + "watchdog.go", "if c, age := d.oldest(); age > patience {",
			"if c, age := d.oldest(); age > 3*patience {",
		},
		{"a disk that hung is written to", flashDir + "watchdog.go", "if d.stuck != nil {", "if false {"},
		{"a disk too small passes", flashDir + "flash.go", "case d.Size() < im.Table.DiskSize:", "case false:"},
		{"other sectors pass", flashDir + "flash.go", "case d.SectorSize() != im.Config.Disk.SectorSize:", "case false:"},

		{"the image is laid over what a system wrote", flashDir + "workers.go", "if own != nil {", "if false {"},
		{"what a system wrote is not taken note of", chunksDir + "system.go", "if ok {\n\t\tover.sectors.set(a, b)\n\t}", "_ = ok"},
		{
			"a write that failed counts as the system's own", chunksDir + "system.go", "if ok {\n\t\tover.sectors.set(a, b)",
			"if ok = true; ok {\n\t\tover.sectors.set(a, b)",
		},
		{
			"the image lands while a system writes", chunksDir + "system.go", "if over != nil && over.writing > 0 {\n\t\t\tover.closed",
			"if over != nil && false {\n\t\t\tover.closed",
		},
		{
			"a system writes while the image lands", chunksDir + "system.go", "case st == Landing:\n\t\t\treturn false",
			"case false:\n\t\t\treturn false",
		},
		{
			"a system writes to what was not proved", chunksDir + "system.go", "case st == Verified || trusting && st == Written:\n\t\t\tm.move",
			"case st == Verified || st == Written:\n\t\t\tm.move",
		},
		{
			"a system reads what was not proved", chunksDir + "system.go", "case st >= Verified || trusting && st == Written:\n\t\treturn",
			"case st >= Written:\n\t\treturn",
		},
		{"a system reads what was seen to be wrong", chunksDir + "system.go", "s.seen.put(i, right && (", "s.seen.put(i, (right || true) && ("},
		{"what was seen right is right for ever", chunksDir + "system.go", "s.seen.put(i, false)\n", "\n"},
		{"zeros are laid over what a system wrote", chunksDir + "work.go", "&& m.table.Zero(i) && m.System.over[i] == nil", "&& m.table.Zero(i)"},
		{"what a system overwrote is proved as the image's", chunksDir + "chunks.go", "to = m.System.settle(i, to)", "_ = to"},
		flush("of what was laid around", "workers.go", fail2+" the rest of chunk"),
		{
			"what was laid around is not read back", flashDir + "workers.go", "if w.verify == VerifyOff || len(parts) == 0 {",
			"if w.verify != 9 || len(parts) == 0 {",
		},
		{
			"what a stray write around a system's hit is not looked for", flashDir + "workers.go",
			"w.meter.repaired.Add(1)\n\t\tw.chunks.Proofs.Strayed()", "w.meter.repaired.Add(1)",
		},
		{"a system writes past its move", liveDir + "disk.go", "if d.settled {", "if false {"},
		{"a live disk is sealed without its head", flashDir + "live.go", "if gate == nil {", "if false {"},
		{
			"a live disk's LBA 0 comes with its head", flashDir + "live.go", "f.medium.writeProven(ctx, rest, func",
			"f.medium.writeProven(ctx, append(rest, gate...), func",
		},
		{
			"no flush before a live disk is moved to", flashDir + "live.go",
			"f.medium.disk.Flush(); err != nil {\n\t\treturn nil, fmt.Errorf(\"flushing: ",
			"error(nil); err != nil {\n\t\treturn nil, fmt.Errorf(\"flushing: ",
		},
		{
			"a live disk's LBA 0 is not read back", flashDir + "live.go",
			"f.medium.writeProven(ctx, gate, func() error { return f.medium.closeGate(ctx) })",
			"blockdev.WriteFull(f.medium.disk, gate[0].Data, 0)",
		},
		{"a live disk's LBA 0 stays when it cannot be proved", flashDir + "live.go", "errors.Join(err, f.medium.closeGate(ctx))", "err"},
		{
			"what a stray write of a live disk's head hit is not looked for", flashDir + "live.go",
			"f.medium.writeProven(ctx, rest, func() error { return f.prover.proveAll(ctx) })",
			"f.medium.writeProven(ctx, rest, func() error { return nil })",
		},
		{
			"what a system waits for is mended in the end only", flashDir + "live.go", "f.serve(ctx, f.prover.mendAtOnce)",
			"_ = f.prover.mendAtOnce",
		},
		{"what a system waits for is proved in the end only", chunksDir + "proofs.go", "p.hurry = append(p.hurry, i)\n", "_ = i\n"},
		{
			"who gives up waiting takes the others' turn", chunksDir + "work.go", "w.urgent = slices.Delete(w.urgent, at, at+1)",
			"w.urgent = slices.DeleteFunc(w.urgent[:len(w.urgent):len(w.urgent)], func(k int) bool { return k == w.urgent[at] })",
		},
		{"a running system's source is given up", flashDir + "flight.go", "job.Retry.Patience = -1", "_ = job"},
		{"a running system's chunk is given up", flashDir + "worker.go", "n < attempts || w.team.live()", "n < attempts"},

		{
			"the manifest's digest is not checked", goldenDir + "image.go", "if err := want.Verify(manifest); err != nil {",
			"if err := error(nil); err != nil {",
		},
		{
			"the config's digest is not checked", goldenDir + "image.go", "if err := m.Config.Digest.Verify(config); err != nil {",
			"if err := error(nil); err != nil {",
		},
		{"the chunk table's digest is not checked", goldenDir + "image.go", "got != described.Digest {", "got != described.Digest && false {"},
	}
}

func main() {
	only := flag.String("run", "", "try only mutations whose name or file holds this `text`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	dir, err := os.MkdirTemp("", "gild-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "none.json"), []byte("{}"), 0o600); err != nil {
		return err
	}
	// A test that fails anyway would kill every mutation.
	if killer, err := test(ctx, filepath.Join(dir, "none.json"), engine()...); err != nil || killer != "" {
		return errors.Join(err, fmt.Errorf("without any mutation: %q fails", killer))
	}
	var survived []string
	for _, m := range mutations() {
		if !strings.Contains(m.file+": "+m.name, only) {
			continue
		}
		start := time.Now()
		killer, err := m.try(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if killer == "" {
			killer = "NO TEST FAILS"
			survived = append(survived, m.name)
		}
		fmt.Printf("%-55s %s (%.0f s)\n", m.name, killer, time.Since(start).Seconds())
	}
	if len(survived) > 0 {
		return fmt.Errorf("no test misses these safeguards: %s", strings.Join(survived, "; "))
	}
	return nil
}

// try runs the tests of engine and format with the mutation in place.
func (m mutation) try(ctx context.Context, dir string) (killer string, err error) {
	real, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	src, err := os.ReadFile(real)
	if err != nil {
		return "", err
	}
	if bytes.Count(src, []byte(m.from)) != 1 {
		return "", fmt.Errorf("%s does not hold this once: %q", m.file, m.from)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, bytes.Replace(src, []byte(m.from), []byte(m.to), 1), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {real: changed}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	for _, args := range m.likely() {
		if killer, err = test(ctx, list, args...); err != nil || killer != "" {
			return killer, err
		}
	}
	return test(ctx, list, engine()...)
}

// likely is which tests to try before all of the engine's.
func (m mutation) likely() [][]string {
	switch {
	case strings.HasPrefix(m.file, goldenDir):
		return [][]string{{"./" + goldenDir}}
	case m.file == flashDir+"live.go", m.file == flashDir+"workers.go", m.file == liveDir+"disk.go", strings.HasPrefix(m.file, chunksDir):
		return [][]string{{"./" + chunksDir}, append(engine(), "-run", "Live")}
	}
	return nil
}

// engine is what go test needs to know about the engine's tests. The counts
// are enough to find what is looked for, and no more.
func engine() []string {
	return []string{"./" + flashDir, "-cuts", "20000", "-forgeries", "5000", "-breaks", "15", "-simulations", "20000"}
}

// test runs a package's tests, files replaced as overlay says, and names the
// first that fails.
func test(ctx context.Context, overlay string, args ...string) (failed string, err error) {
	args = append([]string{"test", "-count=1", "-failfast", "-timeout", "5m", "-overlay", overlay}, args...)
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if bytes.Contains(out, []byte("[build failed]")) {
		return "", fmt.Errorf("the changed code does not compile:\n%s", out)
	}
	var exit *exec.ExitError
	if err == nil || !errors.As(err, &exit) {
		return "", err
	}
	if _, rest, ok := bytes.Cut(out, []byte("--- FAIL: ")); ok {
		name, _, _ := bytes.Cut(rest, []byte(" "))
		return string(name), nil
	}
	return "the tests do not end", nil
}
