package mounttest

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Fill takes, at once, all that is free on the file system of a new file.
func Fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := int64(0)
	for piece := int64(64 << 20); piece >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, end, piece); {
		case err == nil:
			end += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}
