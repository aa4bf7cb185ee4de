package xfs

import (
	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// Runs maps the data fork: extents in the inode, or a B+tree whose root is in
// the inode.
func (v *Volume) runs(ino *inode) ([]volume.Run, error) {
	m := &mapper{v: v, list: volume.RunList{Device: v.dev.Size}, budget: volume.MapBudget(v.dev.Size / v.block)}
	var err error
	switch ino.format {
	case formExtents:
		err = m.records(ino.fork, ino.extents)
	case formBtree:
		err = m.tree(ino.fork)
	default:
		err = volume.Corrupt("data fork of form %d", ino.format)
	}
	return m.list.Runs, err
}

type mapper struct {
	v      *Volume
	list   volume.RunList
	budget int
}

// records takes packed extents (xfs_bmbt_rec): 1 bit unwritten, 54 offset, 52
// block, 21 length.
func (m *mapper) records(b []byte, count uint64) error {
	if count > uint64(len(b)/16) {
		return volume.Corrupt("%d extents in %d bytes", count, len(b))
	}
	for i := range int(count) {
		hi, lo := be.U64(b, 16*i), be.U64(b, 16*i+8)
		if hi>>63 != 0 { // allocated but never written: reads as zeros
			continue
		}
		off := int64(hi >> 9 & (1<<54 - 1))
		length := int64(lo & (1<<21 - 1))
		pos, err := m.v.offset(hi&(1<<9-1)<<43 | lo>>21)
		if err != nil {
			return err
		}
		if off > 1<<62/m.v.block {
			return volume.Corrupt("extent at block %d of a file", off)
		}
		if err := m.list.Add(off*m.v.block, pos, length*m.v.block); err != nil {
			return err
		}
	}
	return nil
}

// tree walks from the root in the inode (xfs_bmdr_block), which packs keys and
// pointers for as many as would fit.
func (m *mapper) tree(fork []byte) error {
	if len(fork) < 4 {
		return volume.Corrupt("extent tree without a root")
	}
	level, count := int(be.U16(fork, 0)), int(be.U16(fork, 2))
	room := (len(fork) - 4) / 16
	if level == 0 || level > 9 || count > room {
		return volume.Corrupt("extent tree root with %d pointers at level %d", count, level)
	}
	for i := range count {
		if err := m.block(be.U64(fork, 4+8*room+8*i), level-1); err != nil {
			return err
		}
	}
	return nil
}

// block walks a block of the tree (xfs_btree_lblock). The level falls by one
// from block to block, so there is an end.
func (m *mapper) block(number uint64, level int) error {
	if m.budget--; m.budget < 0 {
		return volume.Corrupt("the block map of a file is larger than any file")
	}
	at, err := m.v.offset(number)
	if err != nil {
		return err
	}
	b := make([]byte, m.v.block)
	if _, err := m.v.dev.ReadAt(b, at); err != nil {
		return err
	}
	magic, header := uint32(0x424d4150), 24 // BMAP
	if m.v.v5 {
		magic, header = 0x424d4133, 72 // BMA3
	}
	count, body := int(be.U16(b, 6)), b[header:]
	room := len(body) / 16
	if be.U32(b, 0) != magic || int(be.U16(b, 4)) != level || count > room {
		return volume.Corrupt("extent tree block %#x with %d entries at level %d", number, count, be.U16(b, 4))
	}
	if level == 0 {
		return m.records(body, uint64(count))
	}
	for i := range count {
		if err := m.block(be.U64(body, 8*room+8*i), level-1); err != nil {
			return err
		}
	}
	return nil
}
