package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/disk/busy"
)

// isolate runs fn in a mount namespace of its own, with umask 022: what it
// mounts, nobody else sees, and the kernel undoes it when fn is over or the
// process is killed. fn must not hand file work to other goroutines.
func isolate(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread, and with it the namespace, ends with this
		// goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			done <- fmt.Errorf("make a mount namespace: %w", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			done <- fmt.Errorf("make mounts private: %w", err)
			return
		}
		// The thread has its own since unshare. The user's may keep a golden system's
		// files from its services.
		unix.Umask(0o022)
		done <- fn()
	}()
	return <-done
}

// mount is one mount(2) whose error names the place.
func mount(source, target, fstype string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// mountTree gives a chroot at root the kernel file systems that package scripts
// expect.
func mountTree(root string) error {
	return errors.Join(
		mount("proc", root+"/proc", "proc", 0, ""),
		mount("sysfs", root+"/sys", "sysfs", unix.MS_RDONLY, ""),
		mount("/dev", root+"/dev", "", unix.MS_BIND, ""))
}

func unmountTree(root string) error {
	return errors.Join(busy.Unmount(root+"/dev"), busy.Unmount(root+"/sys"), busy.Unmount(root+"/proc"))
}

// run runs a program to its end, with a plain environment so that the host's
// settings do not reach an image. The error holds its last words. The end of
// ctx kills it with all its children.
func run(ctx context.Context, env []string, stdin io.Reader, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root",
		"DEBIAN_FRONTEND=noninteractive",
	}, env...)
	cmd.Stdin = stdin
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	if err := child.Run(cmd); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s: %w:\n%s", name, err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	return nil
}

// chroot runs a program of the tree at root inside it.
func chroot(ctx context.Context, root, name string, args ...string) error {
	return run(ctx, nil, nil, "chroot", append([]string{root, name}, args...)...)
}
