package etcd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// LockedError says that another server works on the data directory.
type LockedError struct {
	Dir string
	PID int // 0 when it is not known
}

func (e *LockedError) Error() string {
	by := "another gild serve"
	if e.PID > 0 {
		by += " (pid " + strconv.Itoa(e.PID) + ")"
	}
	return fmt.Sprintf("data directory %s is locked by %s", e.Dir, by)
}

// Hint says what the operator can do.
func (e *LockedError) Hint() string { return "stop the other server, or give this one its own --data" }

// DirError says what is wrong with the data directory.
type DirError struct {
	Dir  string
	What string // "is not writable", "is full", ...
	Help string
	Err  error // may be nil
}

func (e *DirError) Error() string {
	msg := "data directory " + e.Dir + " " + e.What
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

func (e *DirError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *DirError) Hint() string { return e.Help }

// NewDirError names the common ways in which a directory fails.
func NewDirError(dir string, err error) error {
	e := &DirError{Dir: dir, What: "cannot be used", Help: "give another one with --data", Err: err}
	switch {
	case errors.Is(err, os.ErrPermission):
		e.What, e.Help = "is not writable", "run as the user that owns it, or give another one with --data"
	case errors.Is(err, syscall.EROFS):
		e.What, e.Help = "is on a read-only file system", "remount it for writing, or give another one with --data"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.What, e.Help = "is full", "free space on its file system (gild image rm removes stored images)"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Help = "this process, or the system, has as many files open as it may: raise the limit (ulimit -n, LimitNOFILE= of a systemd unit)"
	case errors.Is(err, syscall.ENOTDIR):
		e.What = "is not a directory"
	}
	return e
}

// Lock makes the directory when it is missing and takes its lock, which ends
// with the process however that ends. The file holds the pid for people.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, NewDirError(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, NewDirError(dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			text, _ := io.ReadAll(io.LimitReader(f, 20))
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			return nil, &LockedError{Dir: dir, PID: pid}
		}
		return nil, NewDirError(dir, fmt.Errorf("locking: %w", err))
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, NewDirError(dir, err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
