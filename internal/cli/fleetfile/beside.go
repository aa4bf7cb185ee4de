package fleetfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/strictyaml"
)

// OutsideError refuses a file that lies outside of the directory that files may
// be named from: who writes a fleet must not read what else the one who applies
// it can.
type OutsideError struct{ Name, Dir string }

func (e *OutsideError) Error() string {
	return fmt.Sprintf("%s lies outside of %s: !file names files below the directory of -f, or below --files-from DIR", e.Name, e.Dir)
}

// beside reads what fleet files name with !file, and nothing outside of one
// directory for each of them.
type beside struct {
	from  string            // directory of all; empty: see below
	below map[string]string // by the file that names: its directory
	read  map[string]bool
}

// open reads a file that another names, by a path relative to that one, or to
// the directory of all.
func (b *beside) open(by, name string) ([]byte, error) {
	top, path := b.from, name
	if top == "" {
		top = b.below[by]
	}
	switch {
	case filepath.IsAbs(name):
	case b.from != "":
		path = filepath.Join(b.from, name)
	default:
		path = filepath.Join(filepath.Dir(by), name)
	}
	rel, err := within(top, path)
	if err != nil {
		return nil, &OutsideError{name, top}
	}
	text, err := readBelow(top, rel)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%s is not UTF-8", name)
	}
	if b.read == nil {
		b.read = map[string]bool{}
	}
	b.read[path] = true
	return text, nil
}

// files are those that were read, sorted.
func (b *beside) files() []string {
	var names []string
	for name := range b.read {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// within is a path as it is named from a directory that it lies in.
func within(dir, path string) (string, error) {
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	absPath, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(absDir, absPath)
	if err == nil && !filepath.IsLocal(rel) {
		err = errors.New("it leads out of the directory")
	}
	return rel, err
}

// readBelow reads a regular file below a directory. Links are followed as far
// as they stay in it.
func readBelow(dir, rel string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A pipe without a writer must not be waited for.
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if _, missing := os.Lstat(filepath.Join(dir, rel)); missing == nil && !errors.Is(err, os.ErrPermission) &&
			!errors.Is(err, os.ErrNotExist) {
			return nil, &OutsideError{rel, dir} // a link that leads out (os.Root has no error of its own for it)
		}
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", rel)
	}
	return readAll(f, rel)
}

// readAll reads up to strictyaml.MaxSize bytes; what is longer is refused.
func readAll(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, strictyaml.MaxSize+1))
	if err == nil && len(text) > strictyaml.MaxSize {
		err = fmt.Errorf("%s has more than %d bytes", name, strictyaml.MaxSize)
	}
	return text, err
}
