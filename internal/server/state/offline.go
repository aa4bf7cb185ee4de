package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// socketName is where a server with an embedded etcd gives backups, to those
// who may open the file: its owner and root.
const socketName = "backup.sock"

// backupWithin bounds one backup.
const backupWithin = 10 * time.Minute

// ServeBackups answers at a socket in the data directory until ctx ends. Who
// connects gets a backup.
func (s *Store) ServeBackups(ctx context.Context, dir string) error {
	path := filepath.Join(dir, socketName)
	// One that a killed server left: the lock says that there is no other.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return dirError(dir, err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return dirError(dir, err)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return dirError(dir, err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waiting for who wants a backup: %w", err)
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(backupWithin))
			call, cancel := context.WithTimeout(ctx, backupWithin)
			defer cancel()
			// What fails here is seen there: the backup has no end.
			_, _ = s.Backup(call, conn)
		}()
	}
}

// BackupDir writes a backup of a data directory, whether a server runs on it
// or not.
func BackupDir(ctx context.Context, dir, prefix string, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, "etcd", "member")); err != nil {
		return dirError(dir, fmt.Errorf("there is no state: %w", err))
	}
	e, err := Start(ctx, dir, nil)
	if _, running := errors.AsType[*LockedError](err); running {
		return fromServer(ctx, dir, w)
	}
	if err != nil {
		return err
	}
	defer e.Close()
	s := &Store{Client: e.Client(), Prefix: prefix}
	_, err = s.Backup(ctx, w)
	return err
}

func fromServer(ctx context.Context, dir string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, backupWithin)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		return fmt.Errorf("asking the server that runs on %s for a backup: %w", dir, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.Copy(w, conn); err != nil {
		return fmt.Errorf("reading the server's backup: %w", err)
	}
	return ctx.Err()
}

// RestoreDir restores a backup into a data directory without a state. It is
// there whole or not at all.
func RestoreDir(ctx context.Context, dir, prefix string, r io.Reader) (done Restored, err error) {
	held, err := lock(dir)
	if err != nil {
		return done, err
	}
	defer held.Close()
	target := filepath.Join(dir, "etcd")
	if _, err := os.Stat(filepath.Join(target, "member")); err == nil {
		return done, &BackupError{"there is a state in " + target + " already: move it away first"}
	}
	// Beside the target, so that it can be renamed.
	work, err := os.MkdirTemp(dir, "restore-")
	if err != nil {
		return done, dirError(dir, err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left behind is found by its name
	e, err := Start(ctx, work, nil)
	if err != nil {
		return done, err
	}
	s := &Store{Client: e.Client(), Prefix: prefix}
	done, err = s.Restore(ctx, r)
	if err := errors.Join(err, e.Close()); err != nil {
		return done, err
	}
	// An empty directory may be there, from a start that was refused.
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return done, dirError(dir, err)
	}
	if err := os.Rename(filepath.Join(work, "etcd"), target); err != nil {
		return done, dirError(dir, err)
	}
	return done, syncDir(dir)
}

// syncDir makes a rename last through a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return dirError(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return dirError(dir, err)
	}
	return nil
}
