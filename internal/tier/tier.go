// Package tier says which tests run when.
//
// The quick loop, go test -short, is the same for everybody: what needs root is
// not in it for root either, as that would make a loop of seconds one of
// minutes. What takes many minutes and proves little that other tests do not is
// named TestLong... and runs in make test-all only.
package tier

import (
	"os"
	"testing"
)

// Root skips a test unless it runs as root and outside of the quick loop.
func Root(t testing.TB, why string) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skipf("%s: not with -short", why)
	case os.Geteuid() != 0:
		t.Skip(why)
	}
}

// Slow skips a test in the quick loop.
func Slow(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("%s: not with -short", why)
	}
}
