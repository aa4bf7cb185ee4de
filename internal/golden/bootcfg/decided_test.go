package bootcfg_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden/bootcfg"
)

// namedFile is a file as a decision names it: in the system, or on a partition
// that is not mounted there.
var namedFile = regexp.MustCompile(`(?:^| )/([^ ,:)]+)(?: on partition (\d+))?`)

// saysWhatDecided holds what was found to what `gild image show` promises: of
// the boot loader, the kernel and the command line it says what decided, and
// what is named there is in the image. It returns the files.
func saysWhatDecided(t *testing.T, d *bootcfg.Disk, found *bootcfg.Found) []string {
	t.Helper()
	if found.Entry == nil {
		if found.Why == nil && len(found.Doubts) == 0 {
			t.Error("there is no kernel, and nothing says why")
		}
		return nil
	}
	var about, files []string
	for _, decision := range found.Decided {
		about = append(about, decision.What)
		for _, m := range namedFile.FindAllStringSubmatch(decision.By, -1) {
			if strings.HasPrefix(m[1], "dev/") {
				continue // of a title
			}
			files = append(files, m[1])
			tree := d.Tree
			for _, v := range d.Volumes {
				if m[2] != "" && m[2] == string(rune('0'+v.Number)) {
					tree = v.FS
				}
			}
			if _, err := fs.Stat(tree, m[1]); err != nil {
				t.Errorf("%s was decided by %q, which is not there", decision.What, decision.By)
			}
		}
	}
	all := strings.Join(about, ", ")
	for _, what := range []string{"kernel", "command line"} {
		if !strings.Contains(all, what) {
			t.Errorf("nothing says what decided on the %s: %v", what, found.Decided)
		}
	}
	if !strings.Contains(all, "boot loader") && !strings.Contains(found.Entry.Source, "newest") && len(files) == 0 {
		t.Errorf("no file is named: %v", found.Decided)
	}
	return files
}

// Every layout of GRUB's names the files that it was read from.
func TestGrubLayoutsSayWhatDecided(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("grub/testdata/layouts/*.txt")
	if err != nil || len(names) < 60 {
		t.Fatalf("%d layouts, %v", len(names), err)
	}
	entries := 0
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			d, config := layoutDisk(t, name)
			found := bootcfg.Find(d, "")
			files := saysWhatDecided(t, d, found)
			if found.Entry == nil {
				return
			}
			entries++
			if !strings.Contains(strings.Join(files, " "), config) {
				t.Errorf("%s is not among what decided: %v", config, found.Decided)
			}
		})
	}
	if entries < 40 {
		t.Errorf("%d layouts have an entry", entries)
	}
}

// layoutDisk is the disk of a layout, as grub/layouts_test.go has it, with the
// path of what GRUB reads first.
func layoutDisk(t *testing.T, name string) (d *bootcfg.Disk, config string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	trees, file := [4]fstest.MapFS{{}, {}, {}, {}}, (*fstest.MapFile)(nil)
	config = "boot/grub/grub.cfg"
	add := func(name, text string) *fstest.MapFile {
		f := &fstest.MapFile{Data: []byte(text)}
		trees[name[0]-'0'][name[2:]] = f
		return f
	}
	for line := range strings.Lines(string(data)) {
		text := strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(text, " ")
		switch {
		case strings.HasPrefix(text, "-- ") && strings.HasSuffix(text, " --"):
			file = add(strings.TrimSuffix(text[3:], " --"), "")
		case file != nil:
			file.Data = append(file.Data, line...)
		case key == "files":
			for _, f := range strings.Fields(value) {
				add(f, "x")
			}
		case key == "flavour":
			add("2/etc/os-release", "ID=rhel\nVERSION_ID=\""+value+"\"\n")
		case key == "config":
			config = strings.TrimPrefix(value[strings.Index(value, ")")+1:], "/")
		}
	}
	tree := fstest.MapFS{}
	d = &bootcfg.Disk{Tree: tree}
	for i, mount := range []string{1: "boot/efi", 2: ".", 3: "boot"} {
		if i == 0 {
			continue
		}
		v := bootcfg.Volume{
			Number: i, GPT: true, Kind: "ext4", FS: trees[i], Mount: mount,
			UUID: []string{"", "1234-ABCD", "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-aaaaaaaaaaaa"}[i],
		}
		switch {
		case i == 1:
			v.Kind, v.Type, v.Label = "vfat", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ESP"
		case i == 2:
			v.Label, d.Root = "root", 1
		case len(trees[3]) == 0:
			continue
		default:
			v.Label = "boot"
		}
		d.Volumes = append(d.Volumes, v)
		for name, f := range trees[i] {
			tree[filepath.Join(mount, name)] = f
		}
	}
	return d, config
}
