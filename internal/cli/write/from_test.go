package write_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/registry"
	"github.com/gild-dev/gild/internal/server/stored"
)

// storeDisk adds a disk as image "a" and returns the data directory and the
// disk's bytes.
func storeDisk(t *testing.T) (data string, disk []byte) {
	t.Helper()
	dir := t.TempDir()
	disk = clitest.Disk(6<<20 + 512)
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(dir, "data")
	if o := gild.Run(t, data, nil, "image", "add", "a", raw); o.Code != exit.CodeOK {
		t.Fatalf("image add = %d: %s", o.Code, o.Stderr)
	}
	return data, disk
}

// writeFrom writes the image that ref names to a new file and compares.
func writeFrom(t *testing.T, ref string, disk []byte) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "target.img")
	nowhere := filepath.Join(t.TempDir(), "data")
	if o := gild.Run(t, nowhere, nil, "write", ref, target); o.Code != exit.CodeOK {
		t.Fatalf("write %s = %d: %s", ref, o.Code, o.Stderr)
	}
	if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("write %s: the target is not the image (%v)", ref, err)
	}
	if _, err := os.Stat(nowhere); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("write %s: something was stored here (%v)", ref, err)
	}
}

func TestWriteFromServer(t *testing.T) {
	data, disk := storeDisk(t)
	st, err := store.Open(filepath.Join(data, "images"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := st.Image("a")
	if err != nil {
		t.Fatal(err)
	}
	handler := door.Handler(&registry.Door{Images: stored.Images{Store: st}})
	var fetched atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(&countingWriter{w, &fetched}, r)
	}))
	defer server.Close()
	base := "oci+" + server.URL
	for _, ref := range []string{base + "/golden/a", base + "/golden/a:latest", base + "/golden/a@" + string(im.Digest)} {
		writeFrom(t, ref, disk)
	}

	// What the target holds already is not fetched.
	target := filepath.Join(t.TempDir(), "target.img")
	if err := os.WriteFile(target, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	fetched.Store(0)
	if o := gild.Run(t, data, nil, "write", "--yes", base+"/golden/a", target); o.Code != exit.CodeOK {
		t.Fatalf("write over itself = %d: %s", o.Code, o.Stderr)
	}
	if n := fetched.Load(); n > im.Disk.Size/2 {
		t.Errorf("writing what is there fetched %d bytes of %d", n, im.Disk.Size)
	}

	for _, tt := range []struct {
		ref  string
		code int
		says string
	}{
		{base + "/golden/b", exit.CodeNotFound, "hint: `gild serve` has its images under golden/NAME"},
		{base + "/a", exit.CodeNotFound, "golden/NAME"},
		{base + "/golden/a:v2", exit.CodeNotFound, "an image has one tag"},
		{base + "/golden/a@sha256:" + strings.Repeat("0", 64), exit.CodeNotFound, "404"},
		{"oci+http://127.0.0.1:1/golden/a", exit.CodeNoServer, "hint: is a server listening there?"},
		{base + "/", exit.CodeUsage, "not the name of a repository"},
		{base + "/Golden/a", exit.CodeUsage, "not the name of a repository"},
		{base + "/golden/a@sha256:1", exit.CodeUsage, "64 hex digits"},
		{base + "/golden/a:", exit.CodeUsage, "neither a tag nor a digest"},
		{base + "/golden/a?x", exit.CodeUsage, "only a host, a port and a name"},
		{"oci+ftp://h/a", exit.CodeUsage, "neither oci+http:// nor oci+https://"},
		{"oci+http://h:99999999/%zz", exit.CodeUsage, "is no image in a registry"},
	} {
		target := filepath.Join(t.TempDir(), "none.img")
		o := gild.Run(t, data, nil, "write", tt.ref, target)
		if o.Code != tt.code || !strings.Contains(o.Stderr, tt.says) {
			t.Errorf("write %s = %d: %s; want %d and %q", tt.ref, o.Code, o.Stderr, tt.code, tt.says)
		}
		if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("write %s left a target behind", tt.ref)
		}
	}
}

// countingWriter counts what a server sends.
type countingWriter struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestWriteFromRegistry takes the image from the reference registry, which
// skopeo copied it into.
func TestWriteFromRegistry(t *testing.T) {
	registry, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	data, disk := storeDisk(t)
	address := startRegistry(t, registry)
	cmd := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false",
		"oci:"+filepath.Join(data, "images")+":a", "docker://"+address+"/room/debian:12")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("skopeo copy: %v\n%s", err, out)
	}
	writeFrom(t, "oci+http://"+address+"/room/debian:12", disk)
	if o := gild.Run(t, data, nil, "write", "oci+http://"+address+"/room/debian:13",
		filepath.Join(t.TempDir(), "x")); o.Code != exit.CodeNotFound {
		t.Errorf("write of an unknown tag = %d: %s", o.Code, o.Stderr)
	}
}

// startRegistry starts a registry on a port of its own and waits until it
// answers.
func startRegistry(t *testing.T, program string) (address string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n",
		filepath.Join(dir, "blobs"), address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "serve", config)
	child.For(t, cmd)
	for range 100 {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the registry does not answer")
	return ""
}
