package fsread

import (
	"slices"
	"strings"
	"sync"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// directory is a listing, sorted by name.
type directory struct {
	entries []volume.Entry
	parent  uint64
	folds   bool
	index   map[string]int
	twice   map[uint64]bool // ids that more than one entry names
}

func (d *directory) find(name string) (volume.Entry, bool) {
	if i, ok := d.index[d.key(name)]; ok {
		return d.entries[i], true
	}
	return volume.Entry{}, false
}

func (d *directory) key(name string) string {
	if d.folds {
		return strings.ToUpper(name)
	}
	return name
}

// dirCache keeps listings, because a walk asks for the same parents again and
// again. It is emptied when it grows past its bound: simpler than an order of
// age, and a tree of modules fits several times.
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
func (f *FS) directory(n *volume.Node) (*directory, error) {
	if d, ok := f.dirs.get(n.ID); ok {
		return d, nil
	}
	entries, parent, err := f.vol.List(n)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b volume.Entry) int { return strings.Compare(a.Name, b.Name) })
	d := &directory{entries: entries, parent: parent, folds: f.vol.FoldsCase(), index: make(map[string]int, len(entries))}
	seen := make(map[uint64]bool, len(entries))
	for i, e := range entries {
		d.index[d.key(e.Name)] = i
		if seen[e.ID] {
			if d.twice == nil {
				d.twice = make(map[uint64]bool)
			}
			d.twice[e.ID] = true
		}
		seen[e.ID] = true
	}
	f.dirs.put(n.ID, d)
	return d, nil
}

// child loads an entry of the directory parent. Directories must form a tree,
// or a walk over a hostile image would not end: a directory's ".." has to name
// the one it was found in, and only one entry there may name it.
func (f *FS) child(parent *volume.Node, d *directory, e volume.Entry) (*volume.Node, error) {
	n, err := f.vol.Load(e)
	if err != nil {
		return nil, err
	}
	if !n.Mode.IsDir() {
		return n, nil
	}
	if d.twice[n.ID] || n.ID == parent.ID {
		return nil, volume.Corrupt("directory %q is linked more than once", e.Name)
	}
	sub, err := f.directory(n)
	if err != nil {
		return nil, err
	}
	if sub.parent != parent.ID {
		return nil, volume.Corrupt("directory %q belongs to another directory", e.Name)
	}
	return n, nil
}
