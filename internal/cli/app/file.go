package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/gild-dev/gild/internal/cli/exit"
)

// ReadSmall reads a file of at most limit bytes, whatever it turns out to be.
func ReadSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(p)) > limit {
		err = exit.Input(fmt.Errorf("%s is larger than %d bytes", path, limit))
	}
	return p, err
}

// Unused refuses a path at which something would be lost: another than a
// regular file, or one that holds anything, unless that is forced.
func Unused(path string, force bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return exit.Refused(exit.Hint(fmt.Errorf("%s is not a regular file and would be replaced by one", path),
			"name a file; a disk is written by `gild write`"))
	case info.Size() > 0 && !force:
		return exit.Refused(exit.Hint(fmt.Errorf("%s exists already", path), "choose another name, or overwrite it with --force"))
	}
	return nil
}
