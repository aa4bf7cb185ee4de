package fsread

import (
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of one directory. A module tree has some hundreds of entries a directory; at this bound a listing takes tens of
// MiB, which a hostile image may cost but not more.
const (
	maxDirBytes   = 256 << 20
	maxDirEntries = 1 << 18
	maxSymlink    = 4096 // PATH_MAX: no kernel follows a longer one
)

// volume is what one file system format answers; walking, caching and the io/fs side are shared.
type volume interface {
	root() (*node, error)
	// load reads what the entry of a directory points to.
	load(e dirent) (*node, error)
	// list reads a directory: its entries without "." and "..", and the id that its ".." names.
	list(n *node) (entries []dirent, parent uint64, err error)
	// content maps the body of a regular file.
	content(n *node) (*content, error)
	readlink(n *node) (string, error)
	// foldsCase says whether names that differ only in case are the same file.
	foldsCase() bool
}

// node is one inode.
type node struct {
	id   uint64 // inode number; FAT: first cluster
	mode fs.FileMode
	size int64
	time time.Time
	raw  any // what the format needs to find the body
}

// dirent is one entry of a directory.
type dirent struct {
	name string
	id   uint64
	node *node // FAT keeps the inode in the entry; nil elsewhere
}

// directory is a listing, sorted by name.
type directory struct {
	entries []dirent
	parent  uint64
	folds   bool
	index   map[string]int
	twice   map[uint64]bool // ids that more than one entry names
}

func (d *directory) find(name string) (dirent, bool) {
	if i, ok := d.index[d.key(name)]; ok {
		return d.entries[i], true
	}
	return dirent{}, false
}

func (d *directory) key(name string) string {
	if d.folds {
		return strings.ToUpper(name)
	}
	return name
}

// dirCache keeps listings, because a walk asks for the same parents again and again. It is emptied when it grows past
// its bound: simpler than an order of age, and a tree of modules fits several times.
type dirCache struct {
	mu    sync.Mutex
	dirs  map[uint64]*directory
	count int
}

const maxCachedEntries = 1 << 16

func (c *dirCache) get(id uint64) (*directory, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.dirs[id]
	return d, ok
}

func (c *dirCache) put(id uint64, d *directory) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirs == nil || c.count > maxCachedEntries {
		c.dirs, c.count = make(map[uint64]*directory), 0
	}
	c.dirs[id] = d
	c.count += len(d.entries) + 1
}

// directory lists n, from the cache when it can.
func (f *FS) directory(n *node) (*directory, error) {
	if d, ok := f.dirs.get(n.id); ok {
		return d, nil
	}
	entries, parent, err := f.vol.list(n)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
	d := &directory{entries: entries, parent: parent, folds: f.vol.foldsCase(), index: make(map[string]int, len(entries))}
	seen := make(map[uint64]bool, len(entries))
	for i, e := range entries {
		d.index[d.key(e.name)] = i
		if seen[e.id] {
			if d.twice == nil {
				d.twice = make(map[uint64]bool)
			}
			d.twice[e.id] = true
		}
		seen[e.id] = true
	}
	f.dirs.put(n.id, d)
	return d, nil
}

// child loads an entry of the directory parent. Directories must form a tree, or a walk over a hostile image would not
// end: a directory's ".." has to name the one it was found in, and only one entry there may name it.
func (f *FS) child(parent *node, d *directory, e dirent) (*node, error) {
	n, err := f.vol.load(e)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return n, nil
	}
	if d.twice[n.id] || n.id == parent.id {
		return nil, corrupt("directory %q is linked more than once", e.name)
	}
	sub, err := f.directory(n)
	if err != nil {
		return nil, err
	}
	if sub.parent != parent.id {
		return nil, corrupt("directory %q belongs to another directory", e.name)
	}
	return n, nil
}

// validName refuses names that no Linux file system can hold and that would confuse whoever joins paths.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 3*255 { // 255 UTF-16 units of FAT, as UTF-8
		return false
	}
	for _, b := range name {
		if b == 0 || b == '/' {
			return false
		}
	}
	return string(name) != "." && string(name) != ".."
}

// modeFromUnix translates st_mode, which ext and XFS store alike.
func modeFromUnix(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & 0o170000 {
	case 0o100000:
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		mode |= fs.ModeDevice
	default:
		mode |= fs.ModeIrregular
	}
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
