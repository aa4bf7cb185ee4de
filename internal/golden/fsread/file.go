package fsread

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// fileInfo is a node under the name it was asked for.
type fileInfo struct {
	name string
	node *volume.Node
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.node.Size }
func (i fileInfo) Mode() fs.FileMode  { return i.node.Mode }
func (i fileInfo) ModTime() time.Time { return i.node.Time }
func (i fileInfo) IsDir() bool        { return i.node.Mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

// openFile is a regular file. The section reader gives Read, ReadAt and Seek;
// WriteTo is not promoted, so that io.Copy uses the caller's buffer.
type openFile struct {
	info fileInfo
	name string
	body *io.SectionReader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

func (f *openFile) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	return n, f.wrap(err)
}

func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.body.ReadAt(p, off)
	return n, f.wrap(err)
}

func (f *openFile) Seek(offset int64, whence int) (int64, error) {
	return f.body.Seek(offset, whence)
}

func (f *openFile) wrap(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &fs.PathError{Op: "read", Path: f.name, Err: err}
}

// openDir is a directory; it is listed when it is first read.
type openDir struct {
	ns      *namespace
	at      place
	name    string
	info    fileInfo
	listed  bool
	entries []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDir}
}

// ReadDir gives the next n entries as [fs.ReadDirFile] says.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.listed {
		list, err := d.ns.list(d.at)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
		d.entries, d.listed = list, true
	}
	if n <= 0 {
		all := d.entries
		d.entries = nil
		return all, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	next := d.entries[:n:n]
	d.entries = d.entries[n:]
	return next, nil
}

// specialFile is a device, pipe or socket: its meaning is not in the image.
type specialFile struct {
	info fileInfo
	name string
}

func (f specialFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f specialFile) Close() error               { return nil }

func (f specialFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: errNotRegular}
}
