package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// BackupDir writes a backup of a data directory that no server runs on; with
// one it is a *LockedError.
func BackupDir(ctx context.Context, dir, prefix string, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, "etcd", "member")); err != nil {
		return dirError(dir, fmt.Errorf("there is no state: %w", err))
	}
	e, err := Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer e.Close()
	s := &Store{Client: e.Client(), Prefix: prefix}
	_, err = s.Backup(ctx, w)
	return err
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
	if Exists(dir) {
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
