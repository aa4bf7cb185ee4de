package fsread

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// maxLinks is how many symbolic links one path may take, as in the kernel
// (path_resolution(7)).
const maxLinks = 40

var (
	errLinkLoop   = fmt.Errorf("more than %d symbolic links", maxLinks)
	errIsDir      = errors.New("is a directory")
	errNotDir     = errors.New("not a directory")
	errNotRegular = errors.New("not a regular file")
	// A path through a file does not exist, and callers that try several paths want
	// to hear just that.
	errParentNotDir = fmt.Errorf("a parent is not a directory: %w", fs.ErrNotExist)
)

// Tree is several file systems joined at mount points: the root, a separate
// /boot, the EFI system partition. It is an [io/fs] file system like [FS]
// itself, and links may lead from one into another.
type Tree struct {
	namespace
}

// NewTree makes a tree of root alone.
func NewTree(root *FS) *Tree {
	return &Tree{namespace{root: root, mounts: make(map[string]*FS)}}
}

// Mount puts the root of f in the place of dir. Links in dir are followed
// first, within what is mounted so far, so the outer mounts come first, as in
// fstab. The last element of dir need not exist. Mount must not run beside
// reads.
func (t *Tree) Mount(dir string, f *FS) error {
	if !fs.ValidPath(dir) || dir == "." {
		return &fs.PathError{Op: "mount", Path: dir, Err: fs.ErrInvalid}
	}
	at, err := t.walk(dir, true)
	if errors.Is(err, fs.ErrNotExist) {
		var parent place
		if parent, err = t.walk(path.Dir(dir), true); err == nil {
			at.path = path.Join(parent.path, path.Base(dir))
		}
	}
	if err != nil {
		return &fs.PathError{Op: "mount", Path: dir, Err: err}
	}
	t.mounts[at.path] = f
	return nil
}

// namespace resolves paths over one or more file systems, and has the methods
// of io/fs for [FS] and [Tree].
type namespace struct {
	root   *FS
	mounts map[string]*FS // by canonical path
}

// place is a node where a walk found it.
type place struct {
	fs   *FS
	node *volume.Node
	path string // canonical: no links, no dots; empty for the root
}

// walk resolves name from the root. A link as the last element is followed only
// on demand.
func (ns *namespace) walk(name string, follow bool) (place, error) {
	top := place{fs: ns.root}
	var err error
	if top.node, err = ns.root.vol.Root(); err != nil {
		return place{}, err
	}
	stack := []place{top}
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		here := stack[len(stack)-1]
		if !here.node.Mode.IsDir() {
			return place{}, errParentNotDir
		}
		switch element {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(len(stack)-1, 1)]
			continue
		}
		next, err := ns.step(here, element)
		if err != nil {
			return place{}, err
		}
		if next.node.Mode.Type() != fs.ModeSymlink || len(rest) == 0 && !follow {
			stack = append(stack, next)
			continue
		}
		if links++; links > maxLinks {
			return place{}, errLinkLoop
		}
		target, err := next.fs.vol.ReadLink(next.node)
		if err != nil {
			return place{}, err
		}
		if target == "" {
			return place{}, volume.Corrupt("empty symbolic link")
		}
		if target[0] == '/' {
			stack = stack[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return stack[len(stack)-1], nil
}

// step goes from a directory to the entry with the given name, through a mount
// point if it is one.
func (ns *namespace) step(here place, name string) (place, error) {
	where := path.Join(here.path, name)
	if m, ok := ns.mounts[where]; ok {
		root, err := m.vol.Root()
		return place{m, root, where}, err
	}
	dir, err := here.fs.directory(here.node)
	if err != nil {
		return place{}, err
	}
	e, ok := dir.find(name)
	if !ok {
		return place{}, fs.ErrNotExist
	}
	n, err := here.fs.child(here.node, dir, e)
	return place{here.fs, n, path.Join(here.path, e.Name)}, err
}

// find is walk with the errors of io/fs.
func (ns *namespace) find(op, name string, follow bool) (place, error) {
	if !fs.ValidPath(name) {
		return place{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at, err := ns.walk(name, follow)
	if err != nil {
		return place{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return at, nil
}

// Open opens a file or directory, following links. A regular file also
// implements [io.ReaderAt] and [io.Seeker]; devices, pipes and sockets open,
// but refuse to be read.
func (ns *namespace) Open(name string) (fs.File, error) {
	at, err := ns.find("open", name, true)
	if err != nil {
		return nil, err
	}
	info := fileInfo{path.Base(name), at.node}
	switch {
	case at.node.Mode.IsDir():
		return &openDir{ns: ns, at: at, name: name, info: info}, nil
	case !at.node.Mode.IsRegular():
		return specialFile{info, name}, nil
	}
	body, err := at.fs.vol.Content(at.node)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{info, name, io.NewSectionReader(body, 0, body.Size)}, nil
}

// ReadDir lists a directory, sorted by name.
func (ns *namespace) ReadDir(name string) ([]fs.DirEntry, error) {
	at, err := ns.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	list, err := ns.list(at)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

// list reads the inode of every entry, because the type that a directory entry
// may hold can be absent or wrong.
func (ns *namespace) list(at place) ([]fs.DirEntry, error) {
	if !at.node.Mode.IsDir() {
		return nil, errNotDir
	}
	dir, err := at.fs.directory(at.node)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, 0, len(dir.entries))
	for _, e := range dir.entries {
		n, err := ns.peek(at, e)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.Name, err)
		}
		list = append(list, fs.FileInfoToDirEntry(fileInfo{e.Name, n}))
	}
	return list, nil
}

// peek is step without listing a directory that nobody entered yet.
func (ns *namespace) peek(here place, e volume.Entry) (*volume.Node, error) {
	if m, ok := ns.mounts[path.Join(here.path, e.Name)]; ok {
		return m.vol.Root()
	}
	return here.fs.vol.Load(e)
}

// ReadFile reads a whole file of at most [MaxReadFile] bytes.
func (ns *namespace) ReadFile(name string) ([]byte, error) {
	return ns.ReadFileLimit(name, MaxReadFile)
}

// ReadFileLimit reads a whole file of at most limit bytes; a larger one is
// [ErrTooLarge], before anything is read.
func (ns *namespace) ReadFileLimit(name string, limit int64) ([]byte, error) {
	at, err := ns.find("read", name, true)
	if err != nil {
		return nil, err
	}
	data, err := readAll(at, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

func readAll(at place, limit int64) ([]byte, error) {
	switch {
	case at.node.Mode.IsDir():
		return nil, errIsDir
	case !at.node.Mode.IsRegular():
		return nil, errNotRegular
	case at.node.Size > limit:
		return nil, fmt.Errorf("%d bytes, at most %d: %w", at.node.Size, limit, ErrTooLarge)
	}
	body, err := at.fs.vol.Content(at.node)
	if err != nil {
		return nil, err
	}
	data := make([]byte, body.Size)
	if n, err := body.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return data, nil
}

// Stat describes a file, following links.
func (ns *namespace) Stat(name string) (fs.FileInfo, error) { return ns.stat("stat", name, true) }

// Lstat describes a file; a link as the last element is described itself.
func (ns *namespace) Lstat(name string) (fs.FileInfo, error) { return ns.stat("lstat", name, false) }

func (ns *namespace) stat(op, name string, follow bool) (fs.FileInfo, error) {
	at, err := ns.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return fileInfo{path.Base(name), at.node}, nil
}

// ReadLink gives the target of a symbolic link as it is stored: it may be
// absolute, or lead nowhere.
func (ns *namespace) ReadLink(name string) (string, error) {
	at, err := ns.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	if at.node.Mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := at.fs.vol.ReadLink(at.node)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}
