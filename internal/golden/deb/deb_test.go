package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden/deb/debtest"
)

func TestData(t *testing.T) {
	whole := debtest.Package(t, map[string]string{"./boot/vmlinuz": "kernel"})
	name, data, err := Data(bytes.NewReader(whole))
	if err != nil || name != "data.tar" {
		t.Fatalf("Data = %q, %v", name, err)
	}
	if _, err := io.ReadAll(data); err != nil {
		t.Errorf("reading data.tar: %v", err)
	}
	for what, p := range map[string][]byte{
		"nothing":                  nil,
		"no archive":               []byte("<html>not found</html>"),
		"another archive":          append([]byte("!<arch>\n"), whole[8+60+4:]...),
		"only the first member":    whole[:8+60+4],
		"a header that is cut off": whole[:8+60+4+20],
		"a size that is no number": bytes.Replace(whole, []byte("4         `"), []byte("-4        `"), 1),
	} {
		if _, _, err := Data(bytes.NewReader(p)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Data = %v; want ErrFormat", what, err)
		}
	}
	_, data, err = Data(bytes.NewReader(whole[:len(whole)-600]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(data); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading a data.tar that is cut off: %v; want ErrUnexpectedEOF", err)
	}
}

func TestUnpackKeepsToItsFolder(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "./lib/modules/1/a.ko", Typeflag: tar.TypeReg, Size: 1},
		{Name: "/abs", Typeflag: tar.TypeReg, Size: 1},
		{Name: "../out", Typeflag: tar.TypeReg, Size: 1},
		{Name: "lib/../../out", Typeflag: tar.TypeReg, Size: 1},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
		{Name: "link/passwd", Typeflag: tar.TypeReg, Size: 1},
		{Name: "dev", Typeflag: tar.TypeChar},
		{Name: "left/out", Typeflag: tar.TypeReg, Size: 1},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := Unpack(&b, root, func(name string) bool { return !strings.HasPrefix(name, "left/") }); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, name)
		}
		return err
	})
	if diff := cmp.Diff([]string{"abs", "lib/modules/1/a.ko", "link/passwd"}, got); diff != "" || err != nil {
		t.Errorf("unpacked (-want +got):\n%s%v", diff, err)
	}
}

func FuzzPackage(f *testing.F) {
	f.Add(debtest.Package(f, map[string]string{"./boot/vmlinuz": "kernel", "./lib/modules/1/a.ko": "module"}))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, data, err := Data(bytes.NewReader(p))
		if err != nil {
			return
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		var taken int64
		_ = Unpack(data, root, func(string) bool { taken++; return taken < 20 })
	})
}
