// Package mounttest gives a test mounts of its own.
package mounttest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
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
