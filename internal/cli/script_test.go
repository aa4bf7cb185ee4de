package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gild-dev/gild/internal/cli/exit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gild": func() { os.Exit(Main(context.Background(), os.Args[1:], Host())) },
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
			return os.WriteFile(filepath.Join(env.WorkDir, "disk.raw"), testDisk(3<<20+512), 0o644)
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

// testDisk has data that does not compress, zeros and no partition table.
func testDisk(size int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	p := make([]byte, size)
	for i := 0; i < len(p)/2; i++ {
		p[i] = byte(rng.Uint32())
	}
	return p
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
	ts.Check(os.WriteFile(ts.MkAbs(".kept-"+filepath.Base(args[0])), []byte(listing(ts.MkAbs(args[0]))), 0o600))
}

func scriptSame(ts *testscript.TestScript, _ bool, args []string) {
	want := ts.ReadFile(".kept-" + filepath.Base(args[0]))
	if diff := cmp.Diff(want, listing(ts.MkAbs(args[0]))); diff != "" {
		ts.Fatalf("%s changed (-before +after):\n%s", args[0], diff)
	}
}

// listing is every path below dir with size and, for what may change in
// place, content.
func listing(dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimPrefix(path, dir) + " " + d.Type().String())
		if d.Type().IsRegular() {
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.WriteString(" " + strconv.Itoa(len(p)))
			if filepath.Base(path) == "index.json" {
				b.Write(p)
			}
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return b.String()
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

// outcome is what one command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

// gild runs one command line in this process.
func gild(t *testing.T, data string, stdin []byte, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"GILD_DATA": data}
	code := Main(t.Context(), args, Surroundings{bytes.NewReader(stdin), &stdout, &stderr, func(k string) string { return env[k] }, nil})
	return outcome{code, stdout.String(), stderr.String()}
}

// packed gives a disk in every compression there is a program for.
func packed(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, tool := range []string{"gzip", "xz", "zstd", "bzip2"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Logf("%s is not installed", tool)
			continue
		}
		cmd := exec.CommandContext(t.Context(), path, "-c")
		cmd.Stdin = bytes.NewReader(raw)
		if all[tool], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A source that is not whole must never become an image, wherever it is cut.
func TestTruncatedSourcesAreRefused(t *testing.T) {
	raw := testDisk(8 << 10)
	for tool, whole := range packed(t, raw) {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			if got := gild(t, data, whole, "image", "add", "whole", "-"); got.code != exit.CodeOK {
				t.Fatalf("the whole source: %+v", got)
			}
			before := listing(data)
			step := max(1, len(whole)/40)
			var cuts []int
			for n := 0; n < len(whole); n += step {
				cuts = append(cuts, n)
			}
			for back := 1; back <= 20; back++ {
				cuts = append(cuts, len(whole)-back)
			}
			for _, n := range cuts {
				if got := gild(t, data, whole[:n], "image", "add", "cut", "-"); got.code != exit.CodeInput || got.stderr == "" {
					t.Errorf("%d of %d bytes: %+v; want exit code %d", n, len(whole), got, exit.CodeInput)
				}
			}
			// Damage at many places, and what follows the end.
			for n := 0; n < len(whole); n += step {
				bad := slices.Clone(whole)
				bad[n] ^= 0x55
				got := gild(t, data, bad, "image", "add", "bad", "-")
				if got.code == exit.CodeOK { // a name or a time in the header has no checksum: the disk must be the same
					out := gild(t, data, nil, "image", "export", "bad", "-")
					if out.stdout != string(raw) {
						t.Errorf("byte %d of %d flipped: another disk was stored", n, len(whole))
					}
					gild(t, data, nil, "image", "rm", "bad")
				}
			}
			got := gild(t, data, append(slices.Clone(whole), "garbage"...), "image", "add", "bad", "-")
			if tool == "gzip" { // whose members say themselves that they are whole
				if got.code != exit.CodeOK || !strings.Contains(got.stderr, "7 bytes behind the gzip data") {
					t.Errorf("trailing garbage: %+v; want it left out, and said", got)
				}
				if out := gild(t, data, nil, "image", "export", "bad", "-"); out.stdout != string(raw) {
					t.Error("trailing garbage became part of the disk")
				}
				gild(t, data, nil, "image", "rm", "bad")
			} else if got.code != exit.CodeInput {
				t.Errorf("trailing garbage: %+v; want exit code %d", got, exit.CodeInput)
			}
			if diff := cmp.Diff(before, listing(data)); diff != "" {
				t.Errorf("data directory (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAddFromURL(t *testing.T) {
	raw := testDisk(2 << 20)
	mux := http.NewServeMux()
	mux.HandleFunc("/disk", func(w http.ResponseWriter, _ *http.Request) {
		gz := gzip.NewWriter(w)
		_, _ = gz.Write(raw)
		_ = gz.Close()
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
		_, _ = w.Write(raw[:len(raw)/2])
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	data := t.TempDir()
	if got := gild(t, data, nil, "image", "add", "a", server.URL+"/disk"); got.code != exit.CodeOK {
		t.Fatalf("add of a URL: %+v", got)
	}
	if got := gild(t, data, nil, "image", "export", "a", "-"); got.stdout != string(raw) {
		t.Errorf("export gives %d bytes; want the %d that were added", len(got.stdout), len(raw))
	}
	before := listing(data)
	for url, want := range map[string]string{
		server.URL + "/cut":              "ended after",
		server.URL + "/none":             "404",
		"ftp://127.0.0.1/x":              "only http and https",
		"http://":                        "no host",
		"http://user:secret@127.0.0.1:1": "refused",
	} {
		got := gild(t, data, nil, "image", "add", "b", url)
		if got.code != exit.CodeInput || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "secret") {
			t.Errorf("add of %s: %+v; want exit code %d and %q", url, got, exit.CodeInput, want)
		}
	}
	if diff := cmp.Diff(before, listing(data)); diff != "" {
		t.Errorf("data directory (-before +after):\n%s", diff)
	}
}

// Every exit code is documented, and every documented one exists.
func TestExitCodesAreDocumented(t *testing.T) {
	help := gild(t, t.TempDir(), nil, "help").stdout
	codes := map[int]string{
		exit.CodeOK: "well", exit.CodeFailed: "failed", exit.CodeUsage: "wrong use", exit.CodeInput: "input", exit.CodeNotFound: "no such",
		exit.CodeRefused: "refused", exit.CodeNoServer: "server", exit.CodeDenied: "token", exit.CodeInterrupted: "interrupted",
	}
	help = strings.Join(strings.Fields(help), " ")
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		_, after, ok := strings.Cut(help, strconv.Itoa(code)+" ")
		if !ok || !strings.Contains(after, codes[code]) {
			t.Errorf("help does not explain exit code %d", code)
		}
	}
}
