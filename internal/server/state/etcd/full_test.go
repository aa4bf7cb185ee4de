package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/tier"
)

// A data directory on a file system without room, then without write access.
func TestFullAndReadOnly(t *testing.T) {
	tier.Root(t, "mounting a small file system needs root")
	dir := t.TempDir()
	if err := syscall.Mount("gild-test", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer mounttest.Unmount(t, dir)
	expect := func(says string, cause error) {
		t.Helper()
		_, err := Start(t.Context(), dir, nil)
		e, ok := errors.AsType[*DirError](err)
		if !ok || !strings.Contains(e.Error(), says) || e.Hint() == "" || !errors.Is(err, cause) {
			t.Errorf("Start = %v; want %q with a hint", err, says)
		}
	}
	expect("is full", syscall.ENOSPC)
	if _, err := os.Stat(filepath.Join(dir, "etcd")); err == nil {
		t.Error("a refused start left an etcd directory behind")
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("cannot remount read-only: %v", err)
	}
	expect("is on a read-only file system", syscall.EROFS)
}
