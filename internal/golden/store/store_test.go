package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/gild-dev/gild/internal/golden"
)

// put stores a small image whose content is the given byte, over and over.
func put(t *testing.T, s *Store, name string, content byte) (golden.Digest, error) {
	t.Helper()
	raw := bytes.Repeat([]byte{content}, golden.MinChunkSize)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	frame := enc.EncodeAll(raw, nil)
	table, err := golden.NewTable(golden.MinChunkSize, golden.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var chunks bytes.Buffer
	err = table.Append(int64(len(raw)), golden.Chunk{Hash: golden.SHA256.Sum(raw), Length: int64(len(frame)), Zero: content == 0})
	if err == nil {
		_, err = table.WriteTo(&chunks)
	}
	if err != nil {
		t.Fatal(err)
	}
	config, err := (&golden.Config{Disk: golden.Disk{
		Size: table.DiskSize, SectorSize: 512, ChunkSize: table.ChunkSize, Hash: "sha256",
		Scheme: "none",
	}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var drafts []*Draft
	var described []golden.Descriptor
	for _, part := range []struct {
		mediaType string
		content   []byte
	}{{golden.MediaTypeDisk, frame}, {golden.MediaTypeChunks, chunks.Bytes()}, {golden.MediaTypeConfig, config}} {
		d, err := s.Draft()
		if err != nil {
			return "", err
		}
		defer d.Close()
		if _, err := d.Write(part.content); err != nil {
			return "", err
		}
		drafts, described = append(drafts, d), append(described, d.Descriptor(part.mediaType))
	}
	manifest, err := (&golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: golden.ArtifactType,
		Config: described[2], Layers: described[:2],
	}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return s.Commit(t.Context(), name, manifest, drafts...)
}

func mustPut(t *testing.T, s *Store, name string, content byte) golden.Digest {
	t.Helper()
	d, err := put(t, s, name, content)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files lists everything in the layout.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, s.Dir()+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestStoreGivesBackWhatWasCommitted(t *testing.T) {
	s := open(t)
	a, b := mustPut(t, s, "a", 1), mustPut(t, s, "b", 2)
	if again := mustPut(t, s, "a2", 1); again != a {
		t.Errorf("the same content under another name is %s; want %s", again, a)
	}
	for ref, want := range map[string]golden.Digest{"a": a, "a2": a, "b": b, string(b): b, b.Hex()[:8]: b} {
		im, err := s.Image(ref)
		if err != nil || im.Digest != want {
			t.Errorf("Image(%q) = %v, %v; want %s", ref, im, err, want)
		}
	}
	for _, ref := range []string{"c", "", a.Hex()[:5], "../a"} {
		if _, err := s.Image(ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Image(%q) = %v; want ErrNotFound", ref, err)
		}
	}
	names, err := s.List()
	if err != nil || len(names) != 3 {
		t.Errorf("List() = %v, %v; want three", names, err)
	}
}

func TestRemoveTakesOnlyWhatNothingNeeds(t *testing.T) {
	s := open(t)
	mustPut(t, s, "a", 1)
	mustPut(t, s, "a2", 1)
	mustPut(t, s, "b", 2)
	if err := s.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a2", "b"} {
		if _, err := s.Image(name); err != nil {
			t.Errorf("after removing a: Image(%s) = %v", name, err)
		}
	}
	if err := s.Remove(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove(a) again = %v; want ErrNotFound", err)
	}
	for _, name := range []string{"a2", "b"} {
		if err := s.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"index.json", "lock", "oci-layout"}, files(t, s)); diff != "" {
		t.Errorf("after removing all images (-want +got):\n%s", diff)
	}
}

func TestMovedNameFreesTheOldImage(t *testing.T) {
	s := open(t)
	old := mustPut(t, s, "a", 1)
	mustPut(t, s, "a", 2)
	if _, err := s.OpenBlob(old); !errors.Is(err, ErrNotFound) {
		t.Errorf("the manifest that a no longer names: %v; want ErrNotFound", err)
	}
}

func TestAbandonedDraftLeavesNothing(t *testing.T) {
	s := open(t)
	mustPut(t, s, "a", 1)
	before := files(t, s)
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	// No Close: this is what a kill -9 looks like to the directory.
	if after := files(t, s); len(after) != len(before) {
		t.Errorf("an unfinished blob is visible: %v", after)
	}
}

// What a crash between two steps of a commit leaves goes with the next one.
func TestCommitCollectsStrays(t *testing.T) {
	s := open(t)
	mustPut(t, s, "old", 2)
	stray := filepath.Join(s.blobDir(), golden.DigestOf([]byte("stray")).Hex())
	for _, f := range []string{stray, s.path(".index.json-123")} {
		if err := os.WriteFile(f, []byte("stray"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, s, "a", 1)
	if _, err := s.Image("a"); err != nil {
		t.Error(err)
	}
	for _, f := range files(t, s) {
		if strings.Contains(f, golden.DigestOf([]byte("stray")).Hex()) || strings.HasPrefix(f, ".index") {
			t.Errorf("%s is still there", f)
		}
	}
}

func TestWritersTakeTurns(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			own, err := Open(s.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := put(t, own, string(rune('a'+i)), byte(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := s.List(); err != nil || len(all) != 20 {
		t.Errorf("List() = %d images, %v; want 20", len(all), err)
	}
}

func TestLockedStoreSaysSo(t *testing.T) {
	s := open(t)
	mustPut(t, s, "a", 1)
	unlock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Remove(ctx, "a"); err == nil || !strings.Contains(err.Error(), "another gild") {
		t.Errorf("Remove while locked = %v; want an error that names the lock", err)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "debian-12", "web.v1.2", "x_1", strings.Repeat("a", 100)} {
		if err := CheckName(good); err != nil {
			t.Errorf("CheckName(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../a", "A", "a b", "a..b", "-a", "a-", ".a", "a\x00", "ä", strings.Repeat("a", 101)} {
		if err := CheckName(bad); err == nil {
			t.Errorf("CheckName(%q) = nil; want an error", bad)
		}
	}
}

// The layout is judged by programs that know nothing of gild.
func TestLayoutIsReadByOras(t *testing.T) {
	s := open(t)
	want := mustPut(t, s, "a", 1)
	layout, err := oci.New(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := layout.Resolve(t.Context(), "a")
	if err != nil || string(d.Digest) != string(want) {
		t.Fatalf("Resolve(a) = %v, %v; want %s", d.Digest, err, want)
	}
	parts, err := content.Successors(t.Context(), layout, d)
	if err != nil || len(parts) != 3 {
		t.Fatalf("the manifest leads to %d blobs, %v; want 3", len(parts), err)
	}
	for _, p := range parts {
		if _, err := content.FetchAll(t.Context(), layout, p); err != nil {
			t.Errorf("%s: %v", p.MediaType, err)
		}
	}
}

func TestLayoutIsCopiedBySkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	s := open(t)
	want := mustPut(t, s, "a", 1)
	to := t.TempDir()
	out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "--preserve-digests", "oci:"+s.Dir()+":a",
		"oci:"+to+":a").CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo copy: %v\n%s", err, out)
	}
	copied, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := copied.ReadBlob(want, golden.MaxManifestSize)
	if err != nil || len(manifest) == 0 {
		t.Errorf("the copy has not the same manifest: %v", err)
	}
}

// Looking must not make directories: a mistyped --data would leave one.
func TestOpenAndListMakeNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("List() = %v, %v; want nothing", all, err)
	}
	if _, err := s.Image("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Image(a) = %v; want ErrNotFound", err)
	}
	if err := s.Remove(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove(a) = %v; want ErrNotFound", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was made by looking", dir)
	}
}

// A file where the directory should be is no empty store.
func TestOpenOnAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("Open of a file = nil; want an error")
	}
}
