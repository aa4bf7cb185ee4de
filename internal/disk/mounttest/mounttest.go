// Package mounttest gives a test mounts of its own.
package mounttest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
)

// Private gives the calling goroutine, and what it starts, a mount namespace of
// its own for as long as it lives; a subtest is a goroutine of its own. The
// caller is root.
//
// Any other program that makes a namespace meanwhile takes copies of the mounts
// along that it can see. A file system of which there is a copy is still in use
// after it was unmounted, and what it has to write is not yet on its disk.
func Private(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// Do calls do with mounts of its own, and leaves the caller's thread as it is.
func Do(t testing.TB, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done) // also when do ends by t.Fatal
		Private(t)
		do()
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
}

// releaseWait bounds how long a loop device may outlive the file system on it.
const releaseWait = time.Minute

// Unmount unmounts what a test has mounted at dir. What was written is in the
// image when it returns, also where another mount namespace had a copy: a loop
// device that is freed by itself lives as long as the file system does.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	device, image := loopUnder(t, dir)
	if err := busy.Unmount(dir); err != nil {
		t.Error(err)
		return
	}
	if device == "" {
		return
	}
	for late := time.Now().Add(releaseWait); backing(device) == image; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Errorf("%s still has %s a minute after it was unmounted", device, image)
			return
		}
	}
}

// loopUnder gives the directory in sysfs of the self-freeing loop device that
// is mounted at dir, and its file; "" where there is none.
func loopUnder(t testing.TB, dir string) (device, image string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	const loopMajor = 7 // Documentation/admin-guide/devices.txt
	if unix.Major(st.Dev) != loopMajor {
		return "", ""
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	if freed, err := os.ReadFile(filepath.Join(device, "loop/autoclear")); err != nil || strings.TrimSpace(string(freed)) != "1" {
		return "", ""
	}
	return device, backing(device)
}

// backing is the file of a loop device, "" when it has none.
func backing(device string) string {
	name, err := os.ReadFile(filepath.Join(device, "loop/backing_file"))
	if err != nil {
		return ""
	}
	return string(name)
}
