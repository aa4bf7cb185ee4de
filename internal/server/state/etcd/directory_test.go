package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	e, err := Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), dir, nil)
	if locked, ok := errors.AsType[*LockedError](err); !ok || locked.PID != os.Getpid() || locked.Hint() == "" {
		t.Errorf("Start of a locked directory = %v; want a LockedError with pid %d", err, os.Getpid())
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, err = Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("Start after Close = %v; want nil", err)
	}
	e.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, "/proc/nothing"} {
		_, err := Start(t.Context(), dir, nil)
		if e, ok := errors.AsType[*DirError](err); !ok || e.Hint() == "" {
			t.Errorf("Start(%s) = %v; want a DirError with a hint", dir, err)
		}
	}
}
