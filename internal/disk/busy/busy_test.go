package busy_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/tier"
)

// held mounts a file system and has another process hold a file of it, as a
// child between fork and exec does; it returns how to make an end of that.
func held(t *testing.T) (dir string, release func()) {
	t.Helper()
	tier.Root(t, "mounting needs root")
	mounttest.Private(t)
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("cat")
	holder.ExtraFiles = []*os.File{file}
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	release = func() {
		input.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}
	return dir, release
}

func TestBusyForAMoment(t *testing.T) {
	dir, release := held(t)
	attempts := 0
	err := busy.While(t.Context(), time.Hour, func() error {
		err := unix.Unmount(dir, 0)
		if attempts++; attempts == 3 {
			release()
		}
		return err
	})
	if err != nil || attempts != 4 {
		t.Errorf("While() = %v after %d attempts; want success in the one after the holder's end", err, attempts)
	}
	if err := busy.Unmount(dir); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Unmount() of what is not mounted = %v; want %v at once", err, unix.EINVAL)
	}
}

func TestBusyForEver(t *testing.T) {
	dir, release := held(t)
	err := busy.While(t.Context(), 50*time.Millisecond, func() error { return unix.Unmount(dir, 0) })
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("While() = %v; want %v", err, unix.EBUSY)
	}
	release()
	if err := busy.Unmount(dir); err != nil {
		t.Error(err)
	}
}

func TestEndOfTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	err := busy.While(ctx, time.Hour, func() error {
		cancel(over)
		return unix.EWOULDBLOCK
	})
	if !errors.Is(err, over) {
		t.Errorf("While() = %v; want %v", err, over)
	}
}

// Other goroutines start programs all the while, so that there is nearly always
// a child that has the descriptors.
func TestBesideForks(t *testing.T) {
	tier.Root(t, "mounting needs root")
	mounttest.Private(t)
	stop := make(chan struct{})
	forks := make(chan error)
	const forkers = 8
	for range forkers {
		go func() {
			var err error
			for err == nil {
				select {
				case <-stop:
					forks <- nil
					return
				default:
					err = exec.Command("true").Run()
				}
			}
			forks <- err
		}()
	}
	for range 200 {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if err := busy.Unmount(dir); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	for range forkers {
		if err := <-forks; err != nil {
			t.Error(err)
		}
	}
}
