package bootcfg_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/golden/bootcfg"
)

// peFile has the sections of a unified kernel image and nothing else: names and
// contents in turn.
func peFile(sections ...string) []byte {
	b := make([]byte, 1024)
	copy(b, "MZ")
	b[0x3c] = 64
	copy(b[64:], "PE\x00\x00\x64\x86")
	b[70] = byte(len(sections) / 2)
	for i := 0; i < len(sections); i += 2 {
		header, body := b[88+20*i:], len(b)
		copy(header, sections[i])
		binary.LittleEndian.PutUint32(header[8:], uint32(len(sections[i+1])))
		binary.LittleEndian.PutUint32(header[16:], 512)
		binary.LittleEndian.PutUint32(header[20:], uint32(body))
		b = append(b, make([]byte, 512)...)
		copy(b[body:], sections[i+1])
	}
	return b
}

// flat is a file system of a few files, which answers sooner than a
// fstest.MapFS: that searches all names for each.
type flat map[string]*flatFile

type flatFile struct {
	name string
	data []byte
	dir  bool
	list []fs.DirEntry
}

func newFlat(files map[string]string) flat {
	f := flat{".": {name: ".", dir: true}}
	for name, text := range files {
		f[name] = &flatFile{name: path.Base(name), data: []byte(text)}
		for name != "." {
			parent, known := path.Dir(name), false
			if f[parent] == nil {
				f[parent] = &flatFile{name: path.Base(parent), dir: true}
			} else {
				known = slices.Contains(f[parent].list, fs.DirEntry(f[name]))
			}
			if !known {
				f[parent].list = append(f[parent].list, f[name])
			}
			name = parent
		}
	}
	for _, d := range f {
		slices.SortFunc(d.list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return f
}

func (f flat) Open(name string) (fs.File, error) {
	if found := f[name]; found != nil {
		return &flatOpen{flatFile: found, Reader: bytes.NewReader(found.data)}, nil
	}
	return nil, fs.ErrNotExist
}

func (f flat) Stat(name string) (fs.FileInfo, error) {
	if found := f[name]; found != nil {
		return found, nil
	}
	return nil, fs.ErrNotExist
}

func (f flat) ReadDir(name string) ([]fs.DirEntry, error) {
	if found := f[name]; found != nil && found.dir {
		return found.list, nil
	}
	return nil, fs.ErrNotExist
}

func (f *flatFile) Name() string               { return f.name }
func (f *flatFile) IsDir() bool                { return f.dir }
func (f *flatFile) Size() int64                { return int64(len(f.data)) }
func (f *flatFile) ModTime() time.Time         { return time.Time{} }
func (f *flatFile) Sys() any                   { return nil }
func (f *flatFile) Type() fs.FileMode          { return f.Mode().Type() }
func (f *flatFile) Info() (fs.FileInfo, error) { return f, nil }
func (f *flatFile) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

type flatOpen struct {
	*flatFile
	*bytes.Reader
}

func (f *flatOpen) Size() int64                { return f.flatFile.Size() }
func (f *flatOpen) Stat() (fs.FileInfo, error) { return f.flatFile, nil }
func (f *flatOpen) Close() error               { return nil }

// maxFuzzed bounds what a fuzzer makes longer and longer: nothing here has a
// meaning only in a large file.
const maxFuzzed = 4 << 10

// fuzzConfig runs Find on one configuration file beside a kernel, and checks
// what every entry promises. A name below efi/ is on an EFI system partition.
func fuzzConfig(f *testing.F, name string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	esp, onESP := strings.CutPrefix(name, "efi/")
	root := map[string]string{"boot/vmlinuz-6.1.0-18-amd64": "", "boot/initrd.img-6.1.0-18-amd64": "", "boot/k": ""}
	if strings.Contains(name, "loader/entries") && !onESP {
		root["boot/grub2/grub.cfg"] = "blscfg\n"
	}
	var efi flat
	d := &bootcfg.Disk{Volumes: []bootcfg.Volume{{Number: 1, GPT: true, Kind: "ext4", UUID: "0a1b-2c3d", Mount: "."}}}
	if onESP {
		efi = newFlat(map[string]string{"k": "", "a.efi": string(peFile(".linux", "k")), "loader/entries/b.conf": "linux /k\n", esp: ""})
		d.Volumes = append(d.Volumes, bootcfg.Volume{
			Number: 2, GPT: true, Kind: "vfat", Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
			UUID: "EF1", FS: efi, Mount: "boot/efi",
		})
	} else {
		root[name] = ""
	}
	tree := newFlat(root)
	changed := tree[name]
	if onESP {
		changed = efi[esp]
		// The system sees what is on the partition at its place.
		for file, entry := range efi {
			tree[path.Join("boot/efi", file)] = entry
		}
	}
	d.Tree, d.Volumes[0].FS = tree, tree
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFuzzed {
			return
		}
		changed.data = data
		found := bootcfg.Find(d, "")
		e := found.Entry
		if e == nil && found.Why == nil && len(found.Doubts) == 0 {
			t.Fatal("Find() neither found anything nor says why")
		}
		if e != nil && (e.Kernel == "" || len(e.Cmdline) > 4096 || strings.ContainsAny(e.Cmdline, "\x00\n\r\x1b") || len(found.Decided) == 0) {
			t.Fatalf("Find() = %+v, %v", e, found.Decided)
		}
	})
}

func FuzzGrub(f *testing.F) {
	fuzzConfig(f, "boot/grub/grub.cfg", grubCfg("0", "6.1.0-18-amd64"),
		"menuentry a --id b { linux /boot/k $x \"a b\" 'c' \\\n d\n}", "if [ -z \"$a\" ]; then submenu x { menuentry y { linux k; } } fi")
}

func FuzzBLS(f *testing.F) {
	fuzzConfig(f, "boot/loader/entries/a+3-1.conf", "title a\nlinux /boot/k\noptions a b\nsort-key x\nversion 1~2\n")
}

func FuzzType1(f *testing.F) {
	fuzzConfig(f, "efi/loader/entries/a+3-1.conf", "title a\nlinux /k\noptions a b\nsort-key x\nversion 1~2\n", "uki \\a.efi\nprofile 1\n",
		"efi /k\noptions initrd=\\k\n")
}

func FuzzLoaderConf(f *testing.F) {
	fuzzConfig(f, "efi/loader/loader.conf", "default b*\n", "default @saved\npreferred [a-c].conf # x\n", "timeout 3\ndefault \"B.conf\"\r\n")
}

func FuzzExtlinux(f *testing.F) {
	fuzzConfig(f, "boot/extlinux/extlinux.conf", "default a\nlabel a\nmenu label ^A\nkernel ../k\nappend initrd=k,k ro\n")
}

func FuzzUKI(f *testing.F) {
	fuzzConfig(f, "efi/EFI/Linux/a.efi", string(peFile(".linux", "k", ".cmdline", "ro")),
		string(peFile(".linux", "k", ".osrel", "ID=x\nVERSION=1\n", ".profile", "ID=main\n", ".profile", "ID=b\nTITLE=B\n", ".cmdline", "b")))
}
