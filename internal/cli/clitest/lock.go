package clitest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// LoopbackServer waits until no other test of this host has a server on the
// loopback interface, whose port for TFTP is one for all of them, and keeps
// that so until the test ends.
func LoopbackServer(t testing.TB) {
	t.Helper()
	path := filepath.Join(os.TempDir(), "gild-test-loopback.lock")
	// Not created where it is: it may be another user's (protected_regular in
	// proc_sys_fs(5)).
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
}
