package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/tier"
)

func TestRefused(t *testing.T) {
	t.Parallel()
	sector := func(offset int, magic string) []byte {
		b := make([]byte, 40<<10)
		copy(b[offset:], magic)
		return b
	}
	tests := map[string]struct {
		b    []byte
		want string
	}{
		"empty":         {nil, "it is empty"},
		"html":          {[]byte("<!DOCTYPE html>\n<title>404</title>"), `looks like a text file (starts with "<!DOCTYPE html>")`},
		"long text":     {bytes.Repeat([]byte("größer "), 1000), "looks like a text file"},
		"vmdk":          {sector(0, "KDMV"), "vmdk image"},
		"vmdk text":     {[]byte("# Disk DescriptorFile\nversion=1\n"), "descriptor"},
		"vhd":           {sector(0, "conectix"), "vhd image: no footer at its end"},
		"vhdx":          {sector(0, "vhdxfile"), "vhdx image"},
		"tar":           {sector(257, "ustar"), "invalid tar header"},
		"zip":           {sector(0, "PK\x03\x04"), "inside the zip data"},
		"7z":            {sector(0, "7z\xbc\xaf\x27\x1c"), "7z archive"},
		"squashfs":      {sector(0, "hsqs"), "squashfs"},
		"iso":           {sector(isoOffset, "CD001"), "ISO 9660"},
		"odd size":      {append(testDisk(4096), 1), "4097 bytes is no multiple of 512"},
		"qcow2 stub":    {[]byte("QFI\xfb\x00"), "truncated header"},
		"gzip stub":     {[]byte("\x1f\x8b\x08"), "ends early"},
		"bzip2 no more": {[]byte("BZh9\x00\x00\x00\x00\x00\x00\x00"), "bzip2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := readImage(t.Context(), writeFile(t, tt.b), Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("file: %v; want an error with %q", err, tt.want)
			}
			_, _, err = readImage(t.Context(), "-", Options{Stdin: bytes.NewReader(tt.b), TempDir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("stream: %v; want an error with %q", err, tt.want)
			}
		})
	}
	for name, want := range map[string]string{
		"":                    "no name",
		t.TempDir():           "it is a directory",
		"/nonexistent/image":  "no such file",
		"/dev/null":           "neither a file nor",
		"ftp://host/image":    "only http and https",
		"file:///etc/passwd":  "only http and https",
		"http:///image":       "names no host",
		"http://host:port/":   "no valid URL",
		"-":                   "no standard input",
		"https://u:secret@\n": "no valid URL",
	} {
		_, err := Open(t.Context(), name, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) = %v; want an error with %q", name, err, want)
		}
	}
}

func TestHybridISO(t *testing.T) {
	t.Parallel()
	b := testDisk(64 << 10)
	copy(b[isoOffset:], isoMagic)
	if got, err := detect(b); got != formatRaw || err != nil {
		t.Errorf("detect(hybrid ISO) = %q, %v; want raw, nil", got, err)
	}
}

// TestHoles reads a file of 1 TiB with two pieces of data, which only works
// when the rest is not read.
func TestHoles(t *testing.T) {
	t.Parallel()
	const size = 1 << 40
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skip("no sparse files here:", err)
	}
	piece := bytes.Repeat([]byte{1, 2}, 6<<10)
	places := []int64{0, 500<<30 + 4096*3}
	for _, at := range places {
		if _, err := f.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open(t.Context(), f.Name(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p := make([]byte, 16<<20)
	read := 0
	for off := int64(0); ; off += int64(len(p)) {
		for i := range 4 { // what is left from the last chunk must not show
			p[i*4096] = 0xee
		}
		n, zero, err := d.ReadChunk(p)
		if errors.Is(err, io.EOF) {
			if off != size {
				t.Errorf("ended at %d; want %d", off, size)
			}
			break
		}
		if err != nil || n != len(p) {
			t.Fatalf("ReadChunk at %d = %d, %v; want %d, nil", off, n, err, len(p))
		}
		if zero {
			continue
		}
		read++
		want := make([]byte, len(p))
		for _, at := range places {
			if off <= at && at < off+int64(n) {
				copy(want[at-off:], piece)
			}
		}
		if !bytes.Equal(p, want) {
			t.Fatalf("chunk at %d differs", off)
		}
	}
	if read != len(places) {
		t.Errorf("read %d chunks; want %d", read, len(places))
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"cut":     func(path string) error { return os.Truncate(path, 1<<20) },
		"grown":   func(path string) error { return os.Truncate(path, 9<<20) },
		"written": func(path string) error { return os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, testDisk(4<<20))
			d, err := Open(t.Context(), path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, _, err := d.ReadChunk(make([]byte, 512)); err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(d); err == nil || !strings.Contains(err.Error(), "while it was read") {
				t.Errorf("file %s while it is read: %v; want an error", name, err)
			}
		})
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	disk := testDisk(1 << 20)
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() { _ = os.WriteFile(path, disk, 0) }()
	got, _, err := readImage(t.Context(), path, Options{})
	if err != nil || !bytes.Equal(got, disk) {
		t.Errorf("read %d bytes from a pipe, %v; want %d, nil", len(got), err, len(disk))
	}
}

// TestBlockDevice reads a loop device, read-only so that nothing can change.
func TestBlockDevice(t *testing.T) {
	t.Parallel()
	tier.Root(t, "a loop device needs root")
	disk := testDisk(3<<20 + 512)
	path := writeFile(t, disk)
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", "--read-only", path).Output()
	if err != nil {
		t.Skip("no loop device here:", err)
	}
	dev := strings.TrimSpace(string(out))
	defer func() { _ = exec.Command("losetup", "--detach", dev).Run() }()
	got, d, err := readImage(t.Context(), dev, Options{})
	if err != nil || !bytes.Equal(got, disk) {
		t.Fatalf("read %d bytes from a block device, %v; want %d, nil", len(got), err, len(disk))
	}
	if d.Size() != int64(len(disk)) {
		t.Errorf("Size() = %d; want %d", d.Size(), len(disk))
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	disk := testDisk(1 << 20)
	gz := pack(t, disk, "gzip", "-c")
	qcow := packQcow2(t, disk)
	send := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b)
		}
	}
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/raw", send(disk))
	mux.HandleFunc("/gz", send(gz))
	mux.HandleFunc("/encoded", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip") // as Apache does for .gz files
		send(gz)(w, r)
	})
	mux.HandleFunc("/qcow2", send(qcow))
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		_, _ = w.Write(disk)
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(disk)))
		_, _ = w.Write(disk[:len(disk)/2])
	})
	mux.HandleFunc("/stall", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(disk[:len(disk)/2])
		w.(http.Flusher).Flush()
		<-release
	})
	mux.HandleFunc("/silent", func(http.ResponseWriter, *http.Request) { <-release })
	mux.HandleFunc("/partial", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusPartialContent) })
	mux.HandleFunc("/to/{n}", func(w http.ResponseWriter, r *http.Request) {
		n := r.PathValue("n")
		if n == "0" {
			http.Redirect(w, r, "/raw", http.StatusFound)
			return
		}
		http.Redirect(w, r, "/to/"+string(n[0]-1), http.StatusFound)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(release)

	for path, want := range map[string]string{
		"/raw": "", "/gz": "", "/encoded": "", "/qcow2": "", "/chunked": "", "/to/2": "",
		"/to/3":    "more than 3 redirects",
		"/away":    "only http and https",
		"/short":   "the connection ended after 524288 of 1048576 bytes",
		"/stall":   "sent nothing for 300ms",
		"/silent":  "sent nothing for 300ms",
		"/partial": "206",
		"/nothing": "the server answered 404",
	} {
		opts := Options{HTTPClient: server.Client(), TempDir: t.TempDir()}
		if path == "/stall" || path == "/silent" {
			opts.Stall = 300 * time.Millisecond
		}
		got, d, err := readImage(t.Context(), server.URL+path, opts)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s = %v; want an error with %q", path, err, want)
		case want == "" && (err != nil || !bytes.Equal(got, disk)):
			t.Errorf("%s = %d bytes, %v; want %d, nil", path, len(got), err, len(disk))
		case path == "/raw" && d.Size() != int64(len(disk)):
			t.Errorf("Size(%s) = %d; want Content-Length %d", path, d.Size(), len(disk))
		}
	}
}
