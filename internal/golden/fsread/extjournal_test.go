package fsread_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/fsread"
)

// debugfs writes to an image as the program of that name does.
func debugfs(t testing.TB, image, commands string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "debugfs"), "-w", image)
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	return string(out)
}

// blockOf is the first block of a file.
func blockOf(t testing.TB, image, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(?:debugfs: +)?(?:blocks [^\n]*\n)?(\d+)`).FindStringSubmatch(debugfs(t, image, "blocks "+name+"\n"))
	if m == nil {
		t.Fatalf("no block of %s", name)
	}
	return m[1]
}

// journalled makes a file system whose file a has new content in the journal
// only, by as many transactions.
func journalled(t testing.TB, contents []string, mkfs ...string) string {
	t.Helper()
	image := blank(t, 32<<20)
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("old "), 1024), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mke2fs", append(append([]string{"-q", "-F", "-b", "4096", "-d", dir}, mkfs...), image)...)
	block := blockOf(t, image, "/a")
	commands := "jo -c\n"
	if !strings.Contains(run(t, "dumpe2fs", "-h", image), "metadata_csum") {
		commands = "jo\n" // the older kind of checksums is not replayed
	}
	for i, content := range contents {
		file := filepath.Join(dir, fmt.Sprint("block", i))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		commands += "jw -b " + block + " " + file + "\n"
	}
	out := debugfs(t, image, commands+"jc\n")
	if strings.Contains(out, "not supported") || strings.Contains(out, "while") {
		t.Fatalf("debugfs: %s", out)
	}
	return image
}

// A journal is replayed for reading as e2fsck replays it on the disk.
func TestJournalIsReplayed(t *testing.T) {
	t.Parallel()
	young := strings.Repeat("new ", 1024)
	escaped := "\xc0\x3b\x39\x98" + strings.Repeat("new!", 1023) // begins as a block of the journal does
	for name, tt := range map[string]struct {
		contents []string
		mkfs     []string
	}{
		"ext4":             {[]string{young}, []string{"-t", "ext4"}},
		"ext3":             {[]string{young}, []string{"-t", "ext3"}},
		"32 bit":           {[]string{young}, []string{"-t", "ext4", "-O", "^64bit,^metadata_csum"}},
		"several":          {[]string{"x" + young[1:], "y" + young[1:], young}, []string{"-t", "ext4"}},
		"an escaped block": {[]string{escaped}, []string{"-t", "ext4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := journalled(t, tt.contents, tt.mkfs...)
			fsys, _ := open(t, image)
			got, err := fsys.ReadFile("a")
			if !fsys.Dirty() || !fsys.Replayed() || err != nil {
				t.Fatalf("dirty %v, replayed %v: %v", fsys.Dirty(), fsys.Replayed(), err)
			}
			before := snapshot(t, fsys, true)
			after, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			checked := filepath.Join(t.TempDir(), "checked")
			if err := os.WriteFile(checked, after, 0o600); err != nil {
				t.Fatal(err)
			}
			// It says by 1 that it has changed the disk.
			if out, err := exec.CommandContext(t.Context(), tool(t, "e2fsck"), "-fy", checked).CombinedOutput(); err != nil &&
				!strings.Contains(string(out), "recovering journal") {
				t.Fatalf("e2fsck: %v: %s", err, out)
			}
			judged, _ := open(t, checked)
			want, err := judged.ReadFile("a")
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("a is %.12q; after e2fsck %.12q, %v", got, want, err)
			}
			if string(want) != tt.contents[len(tt.contents)-1] {
				t.Errorf("e2fsck leaves %.12q: the test's journal is wrong", want)
			}
			for name, line := range snapshot(t, judged, true) {
				if before[name] != line {
					t.Errorf("%s is %q; after e2fsck %q", name, before[name], line)
				}
			}
			if _, err := free(t, fsys, 32<<20); err == nil {
				t.Error("the free space of a file system that was not unmounted is believed")
			}
		})
	}
}

// What cannot be replayed exactly is read as it is, and says so.
func TestJournalIsNotReplayed(t *testing.T) {
	t.Parallel()
	young := strings.Repeat("new ", 1024)
	for name, spoil := range map[string]func(b []byte, journal int){
		"a damaged block":      func(b []byte, j int) { b[j+2*4096+100] ^= 1 },
		"a damaged descriptor": func(b []byte, j int) { b[j+4096+13] ^= 1 },
		"a damaged commit":     func(b []byte, j int) { b[j+3*4096+50] ^= 1 },
		"an unknown feature":   func(b []byte, j int) { b[j+42] |= 0x80 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := journalled(t, []string{young}, "-t", "ext4")
			p, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			journal := bytes.Index(p, []byte("\xc0\x3b\x39\x98\x00\x00\x00\x04"))
			if journal < 0 {
				t.Fatal("no journal")
			}
			spoil(p, journal)
			fsys, err := fsread.Open(bytes.NewReader(p), int64(len(p)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := fsys.ReadFile("a")
			if fsys.Replayed() || !fsys.Dirty() || err != nil || !strings.HasPrefix(string(got), "old ") {
				t.Errorf("replayed %v, a is %.12q, %v; want the old one and that it says so", fsys.Replayed(), got, err)
			}
		})
	}
}

// FuzzJournal changes the journal of a file system that has one to replay, and
// what leads to it.
func FuzzJournal(f *testing.F) {
	image, err := os.ReadFile(journalled(f, []string{strings.Repeat("new ", 1024)}, "-t", "ext4", "-O", "^metadata_csum,64bit"))
	if err != nil {
		f.Fatal(err)
	}
	journal := bytes.Index(image, []byte("\xc0\x3b\x39\x98\x00\x00\x00\x04"))
	if journal < 0 {
		f.Fatal("no journal")
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0x2b, 0x80})                // its features
	f.Add([]byte{0x10, 0x0c, 1, 0x10, 0x13, 8}) // a tag
	f.Add([]byte{0x10, 7, 5})                   // a revocation in its place
	f.Fuzz(func(_ *testing.T, edits []byte) {
		p := patched{r: bytes.NewReader(image), bytes: map[int64]byte{}}
		for ; len(edits) >= 3; edits = edits[3:] {
			p.bytes[int64(journal)+int64(edits[0])<<8+int64(edits[1])] = edits[2]
		}
		visit(p, int64(len(image)))
	})
}
