// Package wholefile writes files that appear with all of their content or not
// at all.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// Write makes a file of what write puts into one, in the place of any that is
// there. A power cut leaves the old file or the new one, never a part of it;
// after Write has returned without error it leaves the new one. What a crash
// leaves behind is a file beside it that is called ".NAME" and digits.
//
// Errors name path. An error may come after the new file is in its place: its
// name may then not survive a power cut.
func Write(path string, mode fs.FileMode, write func(*os.File) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	dir := filepath.Dir(path)
	// Beside it, not in $TMPDIR: the content may be secret, or large.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	if err := write(f.File); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return errors.Join(err, f.Cleanup())
	}
	return SyncDir(dir)
}

// Bytes is Write of p.
func Bytes(path string, mode fs.FileMode, p []byte) error {
	return Write(path, mode, func(f *os.File) error {
		_, err := f.Write(p)
		return err
	})
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil // a file system whose names cannot be made durable one by one (fsync(2))
	}
	return err
}
