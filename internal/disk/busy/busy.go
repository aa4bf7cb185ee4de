// Package busy waits until what has just been left is free.
//
// A device or a file system that nobody uses any more may still be busy for a
// moment. A child of any goroutine has copies of all descriptors from its fork
// to the end of its exec, also of those that are closed meanwhile, and
// O_CLOEXEC changes nothing before that (fork(2), open(2)); a process that was
// killed gives its own up in its own time; udev looks at every device that was
// written to.
package busy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/backoff"
)

// unmountPatience bounds how long a file system may stay in use. A child needs
// milliseconds from fork to exec on a machine that has nothing else to do;
// where there are more of them than processors, each waits its turn.
const unmountPatience = 15 * time.Second

// The waits between two attempts grow from the first to the longest.
const firstWait, longestWait = time.Millisecond, 100 * time.Millisecond

// Unmount unmounts what is mounted at dir, never lazily: after a lazy unmount
// nobody knows when the file system is clean. What is still in use after 15
// seconds is an error. Errors wrap those of umount(2).
func Unmount(dir string) error {
	err := While(context.Background(), unmountPatience, func() error { return unix.Unmount(dir, 0) })
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", dir, err)
	}
	return nil
}

// While repeats an attempt for as long as it ends with EBUSY, or with
// EWOULDBLOCK as flock(2) has it. It returns how the last one ended: that it
// found something busy only when limit was over. The end of ctx ends it with
// its cause.
func While(ctx context.Context, limit time.Duration, attempt func() error) error {
	late := time.Now().Add(limit)
	wait := backoff.Backoff{First: firstWait, Longest: longestWait}
	for {
		err := attempt()
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(late) {
			return err
		}
		if backoff.Sleep(ctx, wait.Next()) != nil {
			return context.Cause(ctx)
		}
	}
}
