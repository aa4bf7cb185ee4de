package fsread

import "fmt"

// mapBudget bounds the blocks that the map of one file may be read from. No file system holds more than it has blocks,
// and 65536 of them map hundreds of gigabytes.
func mapBudget(blocks int64) int { return int(min(blocks, 1<<16)) }

func featureBits(unknown uint32) string {
	return fmt.Sprintf("unknown incompatible features %#x", unknown)
}

// extMapper walks the map of one file: an extent tree or indirect blocks.
type extMapper struct {
	v      *extVolume
	list   runList
	budget int
}

func (v *extVolume) mapper() *extMapper {
	return &extMapper{v: v, list: runList{device: v.blocks * v.block}, budget: mapBudget(v.blocks)}
}

// readBlock reads one block of the map.
func (m *extMapper) readBlock(block int64) ([]byte, error) {
	if m.budget--; m.budget < 0 {
		return nil, corrupt("the block map of a file is larger than any file")
	}
	if block <= 0 || block >= m.v.blocks {
		return nil, corrupt("block %d of %d", block, m.v.blocks)
	}
	b := make([]byte, m.v.block)
	_, err := m.v.dev.ReadAt(b, block*m.v.block)
	return b, err
}

func (v *extVolume) extentRuns(ino *extInode) ([]run, error) {
	m := v.mapper()
	err := m.extents(ino.block[:], -1)
	return m.list.runs, err
}

// extents walks one node of an extent tree (ext4_extent_header and what follows it). The depth must fall by one from
// node to node; -1 is the root, which may have any.
func (m *extMapper) extents(b []byte, depth int) error {
	if le16(b, 0) != 0xf30a {
		return corrupt("extent node without its magic number")
	}
	entries, own := int(le16(b, 2)), int(le16(b, 6))
	if 12+12*entries > len(b) || own > 5 || depth >= 0 && own != depth {
		return corrupt("extent node with %d entries at depth %d", entries, own)
	}
	for i := range entries {
		e := b[12+12*i:]
		logical := int64(le32(e, 0))
		if own > 0 {
			child, err := m.readBlock(int64(le32(e, 4)) | int64(le16(e, 8))<<32)
			if err != nil {
				return err
			}
			if err := m.extents(child, own-1); err != nil {
				return err
			}
			continue
		}
		// A length above 32768 marks an extent that is allocated but was never written: it reads as zeros.
		length := int64(le16(e, 4))
		if length > 1<<15 {
			continue
		}
		start := int64(le32(e, 8)) | int64(le16(e, 6))<<32
		if start == 0 || start >= m.v.blocks {
			return corrupt("extent at block %d of %d", start, m.v.blocks)
		}
		if err := m.list.add(logical*m.v.block, start*m.v.block, length*m.v.block); err != nil {
			return err
		}
	}
	return nil
}

// blockRuns walks the classic map: 12 blocks, then one, two and three levels of indirect blocks.
func (v *extVolume) blockRuns(ino *extInode, size int64) ([]run, error) {
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
		if err := m.indirect(int64(le32(ino.block[:], 4*i)), logical, span, level, size); err != nil {
			return nil, err
		}
		logical += span
	}
	return m.list.runs, nil
}

// indirect maps span blocks from logical on: a data block at level 0, a block of pointers above. Pointer 0 is a hole.
func (m *extMapper) indirect(block, logical, span int64, level int, size int64) error {
	if block == 0 {
		return nil
	}
	if level == 0 {
		if block >= m.v.blocks {
			return corrupt("block %d of %d", block, m.v.blocks)
		}
		return m.list.add(logical*m.v.block, block*m.v.block, m.v.block)
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
		if err := m.indirect(int64(le32(b, int(4*i))), logical, span, level-1, size); err != nil {
			return err
		}
		logical += span
	}
	return nil
}
