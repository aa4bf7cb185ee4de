package images

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gild-dev/gild/test/lab/host"
)

func TestLoop(t *testing.T) {
	host.Need(t)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	loop, err := AttachLoop(path, 1<<20, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	device, err := os.OpenFile(loop.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := device.Seek(0, io.SeekEnd); size != 2<<20 || err != nil {
		t.Errorf("size of %s = %d, %v; want %d", loop.Path, size, err, 2<<20)
	}
	if _, err := device.WriteAt([]byte("here"), 4096); err != nil {
		t.Fatal(err)
	}
	if err := device.Sync(); err != nil {
		t.Fatal(err)
	}
	device.Close()
	if err := loop.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(data[1<<20+4096:], []byte("here")) {
		t.Errorf("the file does not hold what was written through %s: %v", loop.Path, err)
	}
	// udev, where there is one, looks into a new device and holds it for a moment.
	holds := func() bool {
		backing, _ := os.ReadFile(filepath.Join("/sys/block", filepath.Base(loop.Path), "loop/backing_file"))
		return bytes.HasPrefix(backing, []byte(path))
	}
	for deadline := time.Now().Add(10 * time.Second); holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s still holds the file after Close", loop.Path)
		}
	}
}
