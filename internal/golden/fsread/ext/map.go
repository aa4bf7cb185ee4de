package ext

import (
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// mapper walks the map of one file: an extent tree or indirect blocks.
type mapper struct {
	v      *Volume
	list   volume.RunList
	budget int
}

func (v *Volume) mapper() *mapper {
	return &mapper{v: v, list: volume.RunList{Device: v.blocks * v.block}, budget: volume.MapBudget(v.blocks)}
}

// readBlock reads one block of the map.
func (m *mapper) readBlock(block int64) ([]byte, error) {
	if m.budget--; m.budget < 0 {
		return nil, volume.Corrupt("the block map of a file is larger than any file")
	}
	if block <= 0 || block >= m.v.blocks {
		return nil, volume.Corrupt("block %d of %d", block, m.v.blocks)
	}
	b := make([]byte, m.v.block)
	_, err := m.v.dev.ReadAt(b, block*m.v.block)
	return b, err
}

func (v *Volume) extentRuns(ino *inode) ([]volume.Run, error) {
	m := v.mapper()
	err := m.extents(ino.block[:], -1)
	return m.list.Runs, err
}

// extents walks one node of an extent tree (ext4_extent_header and what follows
// it). The depth must fall by one from node to node; -1 is the root, which may
// have any.
func (m *mapper) extents(b []byte, depth int) error {
	if le.U16(b, 0) != 0xf30a {
		return volume.Corrupt("extent node without its magic number")
	}
	entries, own := int(le.U16(b, 2)), int(le.U16(b, 6))
	if 12+12*entries > len(b) || own > 5 || depth >= 0 && own != depth {
		return volume.Corrupt("extent node with %d entries at depth %d", entries, own)
	}
	for i := range entries {
		e := b[12+12*i:]
		logical := int64(le.U32(e, 0))
		if own > 0 {
			child, err := m.readBlock(int64(le.U32(e, 4)) | int64(le.U16(e, 8))<<32)
			if err != nil {
				return err
			}
			if err := m.extents(child, own-1); err != nil {
				return err
			}
			continue
		}
		// A length above 32768 marks an extent that is allocated but was never written:
		// it reads as zeros.
		length := int64(le.U16(e, 4))
		if length > 1<<15 {
			continue
		}
		start := int64(le.U32(e, 8)) | int64(le.U16(e, 6))<<32
		if start == 0 || start >= m.v.blocks {
			return volume.Corrupt("extent at block %d of %d", start, m.v.blocks)
		}
		if err := m.list.Add(logical*m.v.block, start*m.v.block, length*m.v.block); err != nil {
			return err
		}
	}
	return nil
}

// blockRuns walks the classic map: 12 blocks, then one, two and three levels of
// indirect blocks.
func (v *Volume) blockRuns(ino *inode, size int64) ([]volume.Run, error) {
	m := v.mapper()
	perBlock := v.block / 4
	span := int64(1)
	logical := int64(0)
	for i := range 15 {
		level := max(0, i-11)
		if level > 0 {
			span *= perBlock
		}
		if logical*v.block >= size {
			break
		}
		if err := m.indirect(int64(le.U32(ino.block[:], 4*i)), logical, span, level, size); err != nil {
			return nil, err
		}
		logical += span
	}
	return m.list.Runs, nil
}

// indirect maps span blocks from logical on: a data block at level 0, a block
// of pointers above. Pointer 0 is a hole.
func (m *mapper) indirect(block, logical, span int64, level int, size int64) error {
	if block == 0 {
		return nil
	}
	if level == 0 {
		if block >= m.v.blocks {
			return volume.Corrupt("block %d of %d", block, m.v.blocks)
		}
		return m.list.Add(logical*m.v.block, block*m.v.block, m.v.block)
	}
	b, err := m.readBlock(block)
	if err != nil {
		return err
	}
	span /= m.v.block / 4
	for i := range m.v.block / 4 {
		if logical*m.v.block >= size {
			return nil
		}
		if err := m.indirect(int64(le.U32(b, int(4*i))), logical, span, level-1, size); err != nil {
			return err
		}
		logical += span
	}
	return nil
}
