package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *store.Store, name string, raw []byte) *Result {
	t.Helper()
	r, err := Add(t.Context(), Job{Store: s, Name: name, Disk: memory{bytes.NewReader(raw)}})
	if err != nil {
		t.Fatalf("Add(%s): %v", name, err)
	}
	return r
}

// list is every file below dir with its size.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		names = append(names, fmt.Sprintf("%s %d", strings.TrimPrefix(path, dir), info.Size()))
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// unchanged checks that do, which fails, leaves the store as it was.
func unchanged(t *testing.T, s *store.Store, do func()) {
	t.Helper()
	before := list(t, s.Dir())
	do()
	if diff := cmp.Diff(before, list(t, s.Dir())); diff != "" {
		t.Errorf("files of the store (-before +after):\n%s", diff)
	}
}

func TestSameDiskIsStoredOnce(t *testing.T) {
	s := openStore(t, t.TempDir())
	raw := sample(3)
	first := add(t, s, "a", raw)
	var again *Result
	unchanged(t, s, func() { again = add(t, s, "a", raw) })
	if again.Digest != first.Digest {
		t.Errorf("the same disk again is %s; want %s", again.Digest, first.Digest)
	}
	elsewhere := openStore(t, t.TempDir())
	if r := add(t, elsewhere, "other", raw); r.Digest != first.Digest {
		t.Errorf("the same disk in another store is %s; want %s", r.Digest, first.Digest)
	}
	raw[len(raw)-1] ^= 1
	if r := add(t, s, "b", raw); r.Digest == first.Digest {
		t.Error("another disk has the same digest")
	}
}

// A stored image can be read without gild, for ever.
func TestZstdGivesTheDiskBack(t *testing.T) {
	zstd, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("zstd is not installed")
	}
	for name, raw := range map[string][]byte{
		"data, text, zeros, a short end": sample(7),
		"one sector":                     append([]byte{1}, make([]byte, 511)...),
		"nothing but zeros":              make([]byte, 3*golden.DefaultChunkSize),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, t.TempDir())
			r := add(t, s, "a", raw)
			im, err := s.Image("a")
			if err != nil {
				t.Fatal(err)
			}
			blob := filepath.Join(s.Dir(), "blobs", "sha256", im.Disk.Digest.Hex())
			if out, err := exec.CommandContext(t.Context(), zstd, "-q", "-t", blob).CombinedOutput(); err != nil {
				t.Errorf("zstd -t: %v\n%s", err, out)
			}
			got, err := exec.CommandContext(t.Context(), zstd, "-dc", blob).Output()
			if err != nil || !bytes.Equal(got, raw) {
				t.Errorf("zstd -dc gives %d bytes, %v; want the %d of the disk", len(got), err, len(raw))
			}
			if r.Config.Disk.Size != int64(len(raw)) || r.Stored <= 0 {
				t.Errorf("Add = %+v; want a disk of %d bytes", r, len(raw))
			}
		})
	}
}

func TestFailedAddLeavesNothing(t *testing.T) {
	broken := errors.New("broken pipe")
	const full = golden.DefaultChunkSize
	for name, tt := range map[string]struct {
		job   Job
		want  string
		input bool // the input's fault
	}{
		"empty":                      {Job{Name: "a", Disk: &script{}}, "empty", true},
		"source fails at once":       {Job{Name: "a", Disk: &script{{err: broken}}}, "broken pipe", true},
		"source fails in the middle": {Job{Name: "a", Disk: &script{{n: full}, {n: full}, {err: broken}}}, "broken pipe", true},
		"half a sector":              {Job{Name: "a", Disk: &script{{n: full}, {n: 100}}}, "sectors of 512", true},
		"bad name":                   {Job{Name: "../a", Disk: &script{{n: full}}}, "cannot name", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, t.TempDir())
			add(t, s, "before", sample(1))
			unchanged(t, s, func() {
				tt.job.Store = s
				_, err := Add(t.Context(), tt.job)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Add = %v; want an error with %q", err, tt.want)
				}
				if _, ok := errors.AsType[*InputError](err); ok != tt.input {
					t.Errorf("Add = %v, an InputError: %v; want %v", err, ok, tt.input)
				}
			})
		})
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	add(t, s, "a", sample(1))
	unchanged(t, s, func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := Add(ctx, Job{Store: s, Name: "a", Disk: memory{bytes.NewReader(sample(40))}, Progress: func(raw, _ int64) {
			if raw > 10*golden.DefaultChunkSize {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Add, cancelled = %v; want context.Canceled", err)
		}
	})
}

// An operator who interrupts at the last chunk does not expect the image.
func TestCancelAfterTheDiskLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	add(t, s, "a", sample(1))
	unchanged(t, s, func() {
		raw := sample(4)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := Add(ctx, Job{Store: s, Name: "b", Disk: memory{bytes.NewReader(raw)}, Progress: func(done, _ int64) {
			if done == int64(len(raw)) {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Add, cancelled = %v; want context.Canceled", err)
		}
	})
}

// The directory that a child process adds an image to, until it is killed.
const childStore = "GILD_TEST_PACK_STORE"

// TestChild is the child of TestKillLeavesNothing.
func TestChild(t *testing.T) {
	dir := os.Getenv(childStore)
	if dir == "" {
		t.Skip("only as the child of another test")
	}
	s := openStore(t, dir)
	var told bool
	_, err := Add(t.Context(), Job{Store: s, Name: "b", Disk: &endless{size: 1 << 60}, Progress: func(raw, _ int64) {
		if raw > 100<<20 && !told {
			told = true
			fmt.Println("in the middle")
		}
	}})
	t.Fatalf("Add = %v; want to be killed", err)
}

func TestKillLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	add(t, s, "a", sample(1))
	unchanged(t, s, func() {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v")
		cmd.Env = append(os.Environ(), childStore+"="+s.Dir())
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		child.For(t, cmd)
		var said bytes.Buffer
		buf := make([]byte, 256)
		for !strings.Contains(said.String(), "in the middle") {
			n, err := out.Read(buf)
			said.Write(buf[:n])
			if err != nil {
				t.Fatalf("the child ended with %v:\n%s", err, &said)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err == nil {
			t.Error("the child ended well; want it killed")
		}
	})
	if _, err := s.Image("a"); err != nil {
		t.Error(err)
	}
}
