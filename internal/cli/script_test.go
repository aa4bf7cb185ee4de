package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/settings"
)

var gild = clitest.Main(cli.Main)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gild": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Host())) },
	})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GILD_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "tmp"))
			if err := os.Mkdir(filepath.Join(env.WorkDir, "tmp"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "disk.raw"), clitest.Disk(3<<20+512), 0o644)
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode,
			"same": scriptSame,
			"keep": scriptKeep,
			"json": scriptJSON,
			"flip": scriptFlip,
		},
	})
}

// scriptCode runs a command and wants its exit code: code 3 gild image ls.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND [ARGUMENT...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); got != want {
		ts.Fatalf("exit code %d; want %s", got, args[0])
	}
}

// scriptKeep writes down what is below a directory; scriptSame compares.
func scriptKeep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(".kept-"+filepath.Base(args[0])), []byte(clitest.Listing(ts.MkAbs(args[0]))), 0o600))
}

func scriptSame(ts *testscript.TestScript, _ bool, args []string) {
	want := ts.ReadFile(".kept-" + filepath.Base(args[0]))
	if diff := cmp.Diff(want, clitest.Listing(ts.MkAbs(args[0]))); diff != "" {
		ts.Fatalf("%s changed (-before +after):\n%s", args[0], diff)
	}
}

// scriptJSON wants the last output to be one JSON value.
func scriptJSON(ts *testscript.TestScript, _ bool, _ []string) {
	if out := ts.ReadFile("stdout"); !json.Valid([]byte(out)) {
		ts.Fatalf("no JSON: %q", out)
	}
}

// scriptFlip changes one byte in the blob of a media type: flip MEDIATYPE, or
// removes that blob: flip MEDIATYPE gone.
func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	dir := filepath.Join(ts.Getenv("GILD_DATA"), "images")
	blob, err := findBlob(dir, args[0])
	ts.Check(err)
	if len(args) > 1 {
		ts.Check(os.Remove(blob))
		return
	}
	p, err := os.ReadFile(blob)
	ts.Check(err)
	p[len(p)/2] ^= 1
	ts.Check(os.WriteFile(blob, p, 0o644))
}

func findBlob(layout, mediaType string) (string, error) {
	type descriptor struct{ MediaType, Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	blob := func(d descriptor) string {
		return filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(d.Digest, "sha256:"))
	}
	for _, step := range []struct {
		path func() string
		into any
	}{
		{func() string { return filepath.Join(layout, "index.json") }, &index},
		{func() string { return blob(index.Manifests[0]) }, &manifest},
	} {
		p, err := os.ReadFile(step.path())
		if err == nil {
			err = json.Unmarshal(p, step.into)
		}
		if err != nil {
			return "", err
		}
	}
	for _, d := range append(append(index.Manifests[:1:1], manifest.Config), manifest.Layers...) {
		if strings.Contains(d.MediaType, mediaType) {
			return blob(d), nil
		}
	}
	return "", errors.New("no blob of type " + mediaType)
}

// Every exit code is documented, and every documented one exists.
func TestExitCodesAreDocumented(t *testing.T) {
	help := gild.Run(t, t.TempDir(), nil, "help").Stdout
	codes := map[int]string{
		exit.CodeOK: "success", exit.CodeFailed: "failure", exit.CodeUsage: "usage error", exit.CodeInput: "invalid input",
		exit.CodeNotFound: "no such",
		exit.CodeRefused:  "refused", exit.CodeNoServer: "server unreachable", exit.CodeDenied: "not authorised",
		exit.CodeInterrupted: "interrupted",
	}
	help = strings.Join(strings.Fields(help), " ")
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		_, after, ok := strings.Cut(help, strconv.Itoa(code)+" ")
		if !ok || !strings.Contains(after, codes[code]) {
			t.Errorf("help does not explain exit code %d", code)
		}
	}
}

// Ctrl-C in the middle, with the source still open.
func TestInterruptLeavesNothing(t *testing.T) {
	for name, args := range map[string][]string{
		"image add": {"image", "add", "b", "-"},
		"write":     {"write", "-", "target.img"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := t.TempDir(), t.TempDir()
			if got := gild.Run(t, data, clitest.Disk(1<<20), "image", "add", "a", "-"); got.Code != exit.CodeOK {
				t.Fatalf("%+v", got)
			}
			before := clitest.Listing(data)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, os.Args[0])
			child.Args = append([]string{"gild"}, args...) // by this name the test binary is gild, see TestMain
			child.Env = append(os.Environ(), "GILD_DATA="+data, "TMPDIR="+dir)
			child.Dir = dir
			var stderr bytes.Buffer
			child.Stderr = &stderr
			stdin, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			// A pipe holds 64 KiB: when this is written, almost all was read.
			if _, err := stdin.Write(clitest.Disk(20 << 20)); err != nil {
				t.Fatal(err)
			}
			if err := child.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			// Wait would close the pipe first, which is an end of the source.
			state, err := child.Process.Wait()
			if err != nil || state.ExitCode() != exit.CodeInterrupted {
				t.Errorf("gild %s, interrupted = %v, %v; want exit code %d", name, state, err, exit.CodeInterrupted)
			}
			_ = child.Wait()
			if !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("stderr = %q; want it to say interrupted", &stderr)
			}
			if diff := cmp.Diff(before, clitest.Listing(data)); diff != "" {
				t.Errorf("data directory (-before +after):\n%s", diff)
			}
			if left := clitest.Listing(dir); strings.Count(left, "\n") != 1 {
				t.Errorf("temporary and working directory hold:\n%s", left)
			}
		})
	}
}

// Whatever a machine or a server says, it takes over no terminal.
func TestForeignTextIsPrintable(t *testing.T) {
	m := api.Machine{
		ID: clitest.Canary, MAC: clitest.Canary, State: clitest.Canary, Message: clitest.Canary,
		Trouble: &api.Trouble{Cause: clitest.Canary, Message: clitest.Canary, Tries: 2}, Conflict: clitest.Canary, Firmware: clitest.Canary,
		Address: clitest.Canary, Since: clitest.Noon,
		Spec: api.Spec{
			Labels: map[string]string{clitest.Canary: clitest.Canary}, Values: map[string]string{clitest.Canary: clitest.Canary},
			Serial: clitest.Canary, Flash: settings.Settings{Image: clitest.Canary, Agent: settings.Agent{Keep: []string{clitest.Canary}}},
		},
		Armed: &api.Armed{By: clitest.Canary, Plan: api.Plan{
			Image: api.PlanImage{Name: clitest.Canary},
			Agent: settings.Agent{Disk: clitest.Canary},
		}}, Awaited: &api.Awaited{Probe: clitest.Canary},
		Progress: &api.Progress{Phase: clitest.Canary, Done: 5, Total: 4}, Estimate: &progress.Estimate{Phase: clitest.Canary, DataTotal: 4},
		Inventory: &api.Inventory{
			Vendor: clitest.Canary, Serial: clitest.Canary, CPU: clitest.Canary, Memory: 1,
			Disks: []api.Disk{{
				Name: clitest.Canary, Model: clitest.Canary, Serial: clitest.Canary, Transport: clitest.Canary,
				Holds: []string{clitest.Canary}, Partitions: []api.Partition{{FileSystem: clitest.Canary, Label: clitest.Canary}},
			}},
			NICs: []api.NIC{{Name: clitest.Canary, MAC: clitest.Canary, Driver: clitest.Canary}},
		},
	}
	named := m
	named.ID, named.Spec.Name = "x", clitest.Canary
	e := api.Event{
		Step: clitest.Canary, State: clitest.Canary, Message: clitest.Canary, Cause: clitest.Canary, Actor: clitest.Canary,
		To: clitest.Canary,
	}
	fl := api.Flash{
		Image: m.Armed.Plan.Image, By: clitest.Canary, Outcome: clitest.Canary, Cause: clitest.Canary, Message: clitest.Canary,
		Receipt: &api.Receipt{Disk: m.Inventory.Disks[0], Handoff: clitest.Canary}, Phases: []api.Phase{{Step: clitest.Canary}},
	}
	p := api.Preview{
		Machine: named, Image: api.Image{Name: clitest.Canary, Digest: clitest.Canary}, Disk: &m.Inventory.Disks[0],
		Lost: []string{clitest.Canary}, Kept: []string{clitest.Canary}, Warnings: []string{clitest.Canary}, Refusal: clitest.Canary,
	}
	f := clitest.NewFake(t, m, named)
	f.Flashes, f.Log, f.Previews["x"] = []api.Flash{fl}, []api.LogEntry{{Machine: "x", Name: clitest.Canary, Event: e}}, p
	for _, args := range [][]string{
		{"machine", "ls"},
		{"machine", "show", "x"},
		{"events"},
		{"watch"},
		{"flash", "x", "--yes"},
		{"machine", "edit", "x", "--label", "a=b"},
		{"cancel", "x"},
		{"__complete", "machine", "show", ""},
		{"flash", clitest.Canary, "--yes"},
	} {
		got := gild.Ask(t, f, args...)
		if bad := clitest.CanaryBytes.FindString(got.Stdout + got.Stderr); bad != "" {
			t.Errorf("gild %q prints %q:\n%q\n%q", args, bad, got.Stdout, got.Stderr)
		}
	}
}
