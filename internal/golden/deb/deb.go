// Package deb reads the files of a Debian package (deb(5)).
//
// A package may be anybody's: names are checked, sizes are bounded, nothing
// but folders and plain files comes out, and no script of it is ever run.
package deb

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Limits of what is taken out of one package.
const (
	maxFile  = 1 << 30 // bytes
	maxTotal = 8 << 30 // bytes
	maxFiles = 200_000
)

// ErrFormat is wrapped by the error for what is no Debian package.
var ErrFormat = errors.New("no Debian package")

const (
	magic      = "!<arch>\n"
	headerSize = 60
)

// Data returns the archive of files of a package: a tar, packed as name tells
// ("data.tar.xz").
func Data(r io.Reader) (name string, data io.Reader, err error) {
	b := bufio.NewReaderSize(r, 64<<10)
	var first [len(magic)]byte
	if _, err := io.ReadFull(b, first[:]); err != nil || string(first[:]) != magic {
		return "", nil, fmt.Errorf("%w: it does not begin with %q", ErrFormat, strings.TrimSpace(magic))
	}
	for members := 0; members < 16; members++ {
		name, size, err := member(b)
		if err != nil {
			return "", nil, err
		}
		switch {
		case members == 0 && name != "debian-binary":
			return "", nil, fmt.Errorf("%w: its first member is %.40q", ErrFormat, name)
		case strings.HasPrefix(name, "data.tar"):
			return name, &whole{io.LimitReader(b, size), size}, nil
		}
		if _, err := io.CopyN(io.Discard, b, size+size&1); err != nil {
			return "", nil, fmt.Errorf("%w: %s is cut off", ErrFormat, name)
		}
	}
	return "", nil, fmt.Errorf("%w: it has no data.tar", ErrFormat)
}

// member reads one header of an ar archive.
func member(r io.Reader) (name string, size int64, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return "", 0, fmt.Errorf("%w: it ends before data.tar", ErrFormat)
	}
	name = strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	size, err = strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 || string(h[58:]) != "`\n" {
		return "", 0, fmt.Errorf("%w: the header of member %.20q cannot be read", ErrFormat, name)
	}
	return name, size, nil
}

// whole is a member that must be there to its last byte.
type whole struct {
	r    io.Reader
	left int64
}

func (m *whole) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.left -= int64(n)
	if err == io.EOF && m.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Unpack writes the folders and the plain files of a tar that want takes into
// a directory. Links are left out. want is given clean paths without a leading
// slash.
func Unpack(r io.Reader, into *os.Root, want func(name string) bool) error {
	var total, files int64
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the package: %w", err)
		}
		name := path.Clean(strings.TrimLeft(h.Name, "/"))
		if h.Typeflag != tar.TypeReg || !fs.ValidPath(name) || !want(name) {
			continue
		}
		files++
		if total += h.Size; h.Size > maxFile || total > maxTotal || files > maxFiles {
			return fmt.Errorf("reading the package: %.100q is too much: at most %d GiB in %d files are taken", name, maxTotal>>30, maxFiles)
		}
		if err := write(into, name, t); err != nil {
			return fmt.Errorf("unpacking %.100q: %w", name, err)
		}
	}
}

func write(into *os.Root, name string, r io.Reader) error {
	if err := into.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := into.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
