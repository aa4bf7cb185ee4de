package image_test

import (
	"bytes"
	"compress/gzip"
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
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/tier"
)

var gild = clitest.Main(cli.Main)

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
	raw := clitest.Disk(8 << 10)
	for tool, whole := range packed(t, raw) {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			if got := gild.Run(t, data, whole, "image", "add", "whole", "-"); got.Code != exit.CodeOK {
				t.Fatalf("the whole source: %+v", got)
			}
			before := clitest.Listing(data)
			step := max(1, len(whole)/40)
			var cuts []int
			for n := 0; n < len(whole); n += step {
				cuts = append(cuts, n)
			}
			for back := 1; back <= 20; back++ {
				cuts = append(cuts, len(whole)-back)
			}
			for _, n := range cuts {
				if got := gild.Run(t, data, whole[:n], "image", "add", "cut", "-"); got.Code != exit.CodeInput || got.Stderr == "" {
					t.Errorf("%d of %d bytes: %+v; want exit code %d", n, len(whole), got, exit.CodeInput)
				}
			}
			// Damage at many places, and what follows the end.
			for n := 0; n < len(whole); n += step {
				bad := slices.Clone(whole)
				bad[n] ^= 0x55
				got := gild.Run(t, data, bad, "image", "add", "bad", "-")
				if got.Code == exit.CodeOK { // a name or a time in the header has no checksum: the disk must be the same
					out := gild.Run(t, data, nil, "image", "export", "bad", "-")
					if out.Stdout != string(raw) {
						t.Errorf("byte %d of %d flipped: another disk was stored", n, len(whole))
					}
					gild.Run(t, data, nil, "image", "rm", "bad")
				}
			}
			got := gild.Run(t, data, append(slices.Clone(whole), "garbage"...), "image", "add", "bad", "-")
			if tool == "gzip" { // whose members say themselves that they are whole
				if got.Code != exit.CodeOK || !strings.Contains(got.Stderr, "7 bytes behind the gzip data") {
					t.Errorf("trailing garbage: %+v; want it left out, and said", got)
				}
				if out := gild.Run(t, data, nil, "image", "export", "bad", "-"); out.Stdout != string(raw) {
					t.Error("trailing garbage became part of the disk")
				}
				gild.Run(t, data, nil, "image", "rm", "bad")
			} else if got.Code != exit.CodeInput {
				t.Errorf("trailing garbage: %+v; want exit code %d", got, exit.CodeInput)
			}
			if diff := cmp.Diff(before, clitest.Listing(data)); diff != "" {
				t.Errorf("data directory (-before +after):\n%s", diff)
			}
		})
	}
}

func TestAddFromURL(t *testing.T) {
	raw := clitest.Disk(2 << 20)
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
	if got := gild.Run(t, data, nil, "image", "add", "a", server.URL+"/disk"); got.Code != exit.CodeOK {
		t.Fatalf("add of a URL: %+v", got)
	}
	if got := gild.Run(t, data, nil, "image", "export", "a", "-"); got.Stdout != string(raw) {
		t.Errorf("export gives %d bytes; want the %d that were added", len(got.Stdout), len(raw))
	}
	before := clitest.Listing(data)
	for url, want := range map[string]string{
		server.URL + "/cut":              "ended after",
		server.URL + "/none":             "404",
		"ftp://127.0.0.1/x":              "only http and https",
		"http://":                        "no host",
		"http://user:secret@127.0.0.1:1": "refused",
	} {
		got := gild.Run(t, data, nil, "image", "add", "b", url)
		if got.Code != exit.CodeInput || !strings.Contains(got.Stderr, want) || strings.Contains(got.Stderr, "secret") {
			t.Errorf("add of %s: %+v; want exit code %d and %q", url, got, exit.CodeInput, want)
		}
	}
	if diff := cmp.Diff(before, clitest.Listing(data)); diff != "" {
		t.Errorf("data directory (-before +after):\n%s", diff)
	}
}

// A full store is not the input's fault.
func TestFullStore(t *testing.T) {
	tier.Root(t, "mounting a small tmpfs needs root")
	data := t.TempDir()
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, data) })
	if got := gild.Run(t, data, clitest.Disk(1<<20), "image", "add", "a", "-"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	before := clitest.Listing(data)
	got := gild.Run(t, data, clitest.Disk(20<<20), "image", "add", "b", "-")
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stderr, "no space left") || !strings.Contains(got.Stderr, "--data") {
		t.Errorf("add to a full store: %+v; want exit code %d and what to do", got, exit.CodeFailed)
	}
	if diff := cmp.Diff(before, clitest.Listing(data)); diff != "" {
		t.Errorf("data directory (-before +after):\n%s", diff)
	}
	if got := gild.Run(t, data, nil, "image", "verify", "a"); got.Code != exit.CodeOK {
		t.Errorf("verify of the image before: %+v", got)
	}
}

func TestInitramfsWithoutTheAgentSaysMake(t *testing.T) {
	if _, err := agentbin.Agent("amd64"); err == nil {
		t.Skip("this build has the agent")
	}
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "initramfs")
	if got := gild.Run(t, data, nil, "image", "add", "a", clitest.RootDisk(t), "--kernel", clitest.KernelFile(t)); got.Code != exit.CodeOK ||
		!strings.Contains(got.Stdout, "6.1.0-golden") {
		t.Fatalf("add: %+v", got)
	}
	got := gild.Run(t, data, nil, "initramfs", "a", "-o", out)
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stderr, "`make`") {
		t.Errorf("initramfs: %+v; want exit code %d and make", got, exit.CodeFailed)
	}
	if left := clitest.Listing(filepath.Dir(out)); strings.Count(left, "\n") != 1 {
		t.Errorf("left behind:\n%s", left)
	}
}

// What is supplied and cannot be used stores nothing.
func TestUselessFlagsStoreNothing(t *testing.T) {
	data, disk := t.TempDir(), clitest.RootDisk(t)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"--root", "7"}, exit.CodeInput},
		{[]string{"--kernel", bad}, exit.CodeInput},
		{[]string{"--kernel", clitest.KernelFile(t), "--initrd", "/none"}, exit.CodeInput},
		{[]string{"--kernel", clitest.KernelFile(t), "--modules", t.TempDir()}, exit.CodeNotFound},
	} {
		got := gild.Run(t, data, nil, append([]string{"image", "add", "a", disk}, tt.args...)...)
		if flag := tt.args[len(tt.args)-2]; got.Code != tt.code || !strings.Contains(got.Stderr, flag) {
			t.Errorf("add %q: %+v; want exit code %d and %s", tt.args, got, tt.code, flag)
		}
	}
	if got := gild.Run(t, data, nil, "image", "ls", "--json"); got.Stdout != "[]\n" {
		t.Errorf("ls = %q; want none", got.Stdout)
	}
}

// What is in a file is not lost by a second export with the same name.
func TestExportAsksBeforeItOverwrites(t *testing.T) {
	data, raw := t.TempDir(), clitest.Disk(2<<20)
	source, to := filepath.Join(t.TempDir(), "source.raw"), filepath.Join(t.TempDir(), "to.raw")
	for path, content := range map[string][]byte{source: raw, to: []byte("precious")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gild.Run(t, data, nil, "image", "add", "a", source)
	if out := gild.Run(t, data, nil, "image", "export", "a", to); out.Code == 0 || !strings.Contains(out.Stderr, "--force") {
		t.Errorf("exit code %d, %q; want that it asks for --force", out.Code, out.Stderr)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != "precious" {
		t.Errorf("the file has %d bytes, %v; want it as it was", len(got), err)
	}
	if out := gild.Run(t, data, nil, "image", "export", "--force", "a", to); out.Code != 0 {
		t.Errorf("with --force: %s", out.Stderr)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("with --force the file has %d bytes, %v; want the %d of the image", len(got), err, len(raw))
	}
}
