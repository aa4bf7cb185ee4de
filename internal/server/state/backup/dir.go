package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// WriteDir writes a backup of a data directory that no server runs on; with
// one it is a *LockedError.
func WriteDir(ctx context.Context, dir, prefix string, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, "etcd", "member")); err != nil {
		return etcd.NewDirError(dir, fmt.Errorf("there is no state: %w", err))
	}
	e, err := etcd.Start(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = Write(ctx, keys.Space{Client: e.Client(), Prefix: prefix}, w)
	return err
}

// RestoreDir restores a backup into a data directory without a state. It is
// there whole or not at all.
func RestoreDir(ctx context.Context, dir, prefix string, r io.Reader) (done Restored, err error) {
	held, err := etcd.Lock(dir)
	if err != nil {
		return done, err
	}
	defer held.Close()
	target := filepath.Join(dir, "etcd")
	if etcd.Exists(dir) {
		return done, &Error{"there is a state in " + target + " already: move it away first"}
	}
	// Beside the target, so that it can be renamed.
	work, err := os.MkdirTemp(dir, "restore-")
	if err != nil {
		return done, etcd.NewDirError(dir, err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // what is left behind is found by its name
	e, err := etcd.Start(ctx, work, nil)
	if err != nil {
		return done, err
	}
	done, err = Restore(ctx, state.New(keys.Space{Client: e.Client(), Prefix: prefix}, nil, nil), r)
	if err := errors.Join(err, e.Close()); err != nil {
		return done, err
	}
	// An empty directory may be there, from a start that was refused.
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return done, etcd.NewDirError(dir, err)
	}
	if err := os.Rename(filepath.Join(work, "etcd"), target); err != nil {
		return done, etcd.NewDirError(dir, err)
	}
	return done, syncDir(dir)
}

// syncDir makes a rename last through a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return etcd.NewDirError(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return etcd.NewDirError(dir, err)
	}
	return nil
}
