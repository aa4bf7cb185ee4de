package xfs

import (
	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// leafOffset is where, in bytes of a directory's address space, the hash index
// begins. The entries themselves are all in front of it, which is all that a
// listing needs.
const leafOffset = 1 << 35

type lister struct {
	v *Volume
	volume.Listing
}

// List reads a directory.
func (v *Volume) List(n *volume.Node) ([]volume.Entry, uint64, error) {
	l := &lister{v: v}
	ino := n.Raw.(*inode)
	if ino.format == formLocal {
		err := l.short(ino.fork, n.Size)
		return l.Entries, l.Parent, err
	}
	runs, err := v.runs(ino)
	if err != nil {
		return nil, 0, err
	}
	c := &volume.Content{R: v.dev, Size: leafOffset, Runs: runs}
	if v.dirBlock == v.block {
		err = volume.EachBlock(c, v.dirBlock, v.dev.Size, l.block)
	} else {
		err = l.scattered(c)
	}
	return l.Entries, l.Parent, err
}

// scattered reads directory blocks of several file system blocks, which need
// not be next to each other.
func (l *lister) scattered(c *volume.Content) error {
	budget := min(l.v.dev.Size, volume.MaxDirBytes)
	b := make([]byte, l.v.dirBlock)
	next := int64(0)
	for _, r := range c.Runs {
		for at := max(next, r.Off/l.v.dirBlock*l.v.dirBlock); at < min(r.Off+r.Length, leafOffset); at += l.v.dirBlock {
			if budget -= l.v.dirBlock; budget < 0 {
				return volume.Corrupt("directory is larger than its file system")
			}
			if n, err := c.ReadAt(b, at); n < len(b) {
				return err
			}
			if err := l.block(b); err != nil {
				return err
			}
			next = at + l.v.dirBlock
		}
	}
	return nil
}

// short takes a directory that is stored in its inode (xfs_dir2_sf).
func (l *lister) short(b []byte, size int64) error {
	if size > int64(len(b)) || size < 6 {
		return volume.Corrupt("directory of %d bytes in its inode", size)
	}
	b = b[:size]
	count, width := int(b[0]), 4
	if b[1] != 0 { // some inode number needs 8 bytes
		count, width = max(count, int(b[1])), 8
	}
	inode := func(at int) uint64 {
		if width == 8 {
			return be.U64(b, at) & (1<<56 - 1)
		}
		return uint64(be.U32(b, at))
	}
	typed := 0
	if l.v.ftype {
		typed = 1
	}
	at := 2 + width
	if at > len(b) {
		return volume.Corrupt("directory of %d bytes in its inode", size)
	}
	l.Parent = inode(2)
	for range count {
		if at+3 > len(b) {
			return volume.Corrupt("directory ends early")
		}
		nameLen := int(b[at])
		name := at + 3
		id := name + nameLen + typed
		if id+width > len(b) {
			return volume.Corrupt("directory ends early")
		}
		if err := l.AddName(inode(id), b[name:name+nameLen]); err != nil {
			return err
		}
		at = id + width
	}
	return nil
}

// block takes the entries of one directory block (xfs_dir2_data and
// xfs_dir2_block).
func (l *lister) block(b []byte) error {
	start, end := 16, len(b)
	if l.v.v5 {
		start = 64
	}
	switch magic := string(b[:4]); {
	case l.v.v5 && magic == "XDD3" || !l.v.v5 && magic == "XD2D":
	case l.v.v5 && magic == "XDB3" || !l.v.v5 && magic == "XD2B":
		// A directory of one block has its hash index at the end of it.
		count := int64(be.U32(b, len(b)-8))
		if 8*count > int64(len(b)-8-start) {
			return volume.Corrupt("directory block with %d names", count)
		}
		end = len(b) - 8 - 8*int(count)
	default:
		return volume.Corrupt("directory block without its magic number")
	}
	for at := start; at+8 <= end; {
		length, err := l.entry(b[at:end])
		if err != nil {
			return err
		}
		at += length
	}
	return nil
}

// entry takes the entry or the free space at the start of b and tells its
// length.
func (l *lister) entry(b []byte) (int, error) {
	if be.U16(b, 0) == 0xffff {
		length := int(be.U16(b, 2))
		if length < 8 || length > len(b) {
			return 0, volume.Corrupt("free space of %d bytes in a directory", length)
		}
		return length, nil
	}
	if len(b) < 9 {
		return 0, volume.Corrupt("directory ends early")
	}
	nameLen := int(b[8])
	length := 9 + nameLen + 2
	if l.v.ftype {
		length++
	}
	length = (length + 7) &^ 7
	if length > len(b) {
		return 0, volume.Corrupt("directory entry of %d bytes", length)
	}
	return length, l.AddName(be.U64(b, 0), b[9:9+nameLen])
}
