package xfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

const (
	// finobt, rmapbt, reflink, inobtcnt: none changes what the free-space trees
	// mean.
	roFree = 0xf

	minGroupBytes = 16 << 20 // XFS_MIN_AG_BYTES
	maxLevels     = 9
)

// span is a range of blocks, its end not included.
type span struct{ start, end int64 }

// freeSpace reads the free space of one allocation group after the other from
// its tree by block number (bnobt), as in the kernel's
// fs/xfs/libxfs/xfs_alloc_btree.c and xfs_format.h.
type freeSpace struct {
	v      *Volume
	blocks int64 // of the file system
	sector int64
	emit   func(start, length int64) bool
}

// group is one allocation group on its way.
type group struct {
	m        *freeSpace
	number   int64
	length   int64  // blocks
	own      []span // what no sound tree calls free
	next     int64  // first block behind the last record
	free     int64
	longest  int64
	nodes    int64 // blocks of the tree read so far
	emitting bool  // the second walk
	finished bool  // the receiver wants no more
}

// Free gives emit the ranges that the maps call free, in bytes and in order,
// until it returns false. An error means that nothing that was given before may
// be believed.
func (v *Volume) Free(emit func(start, length int64) bool) error {
	sb := make([]byte, 512)
	if _, err := v.dev.ReadAt(sb, 0); err != nil {
		return err
	}
	m := &freeSpace{v: v, blocks: int64(be.U64(sb, 8)), sector: int64(be.U16(sb, 102)), emit: emit}
	if err := m.check(sb); err != nil {
		return err
	}
	for number := range v.agCount {
		g, err := m.group(sb, number)
		if err != nil || g.finished {
			return err
		}
	}
	return nil
}

// check holds the superblock against what the trees depend on.
func (m *freeSpace) check(sb []byte) error {
	v := m.v
	switch {
	case m.sector < 512 || m.sector > v.block || m.sector&(m.sector-1) != 0:
		return volume.Corrupt("sectors of %d bytes", m.sector)
	case v.agBlocks*v.block < minGroupBytes || v.agCount != (m.blocks+v.agBlocks-1)/v.agBlocks:
		return volume.Corrupt("%d groups of %d blocks for %d blocks", v.agCount, v.agBlocks, m.blocks)
	case !v.v5:
		return nil
	case be.U32(sb, 212)&^roFree != 0:
		return &volume.UnsupportedError{Kind: "xfs", Reason: fmt.Sprintf("unknown read-only compatible features %#x", be.U32(sb, 212)&^roFree)}
	case be.U32(sb, 220) != 0:
		return &volume.UnsupportedError{Kind: "xfs", Reason: fmt.Sprintf("features of the log %#x", be.U32(sb, 220))}
	}
	whole := make([]byte, m.sector)
	if _, err := v.dev.ReadAt(whole, 0); err != nil {
		return err
	}
	if !sumFits(whole, 224) {
		return volume.Corrupt("checksum of the superblock")
	}
	return nil
}

// sumFits tells whether b has the crc32c that stands in it at off.
func sumFits(b []byte, off int) bool {
	sum := volume.Castagnoli(^uint32(0), b[:off])
	sum = volume.Castagnoli(sum, []byte{0, 0, 0, 0})
	return ^volume.Castagnoli(sum, b[off+4:]) == binary.LittleEndian.Uint32(b[off:])
}

// group emits the free space of one group.
func (m *freeSpace) group(sb []byte, number int64) (*group, error) {
	v := m.v
	g := &group{m: m, number: number, length: min(v.agBlocks, m.blocks-number*v.agBlocks)}
	b := make([]byte, m.sector)
	if _, err := v.dev.ReadAt(b, number*v.agBlocks*v.block+m.sector); err != nil {
		return nil, err
	}
	switch {
	case be.U32(b, 0) != 0x58414746 || be.U32(b, 4) != 1 || int64(be.U32(b, 8)) != number || int64(be.U32(b, 12)) != g.length: // XAGF
		return nil, volume.Corrupt("header of group %d", number)
	case v.v5 && (!sumFits(b, 216) || string(b[64:80]) != string(v.uuid[:])):
		return nil, volume.Corrupt("checksum of the header of group %d", number)
	}
	// Superblock, AGF, AGI and AGFL take four sectors; the roots of the trees, the
	// log and the root directory may not be free either.
	g.own = []span{{0, (4*m.sector + v.block - 1) / v.block}}
	for _, root := range []int{16, 20} {
		g.own = append(g.own, span{int64(be.U32(b, root)), int64(be.U32(b, root)) + 1})
	}
	g.keep(be.U64(sb, 48), int64(be.U32(sb, 96)))
	g.keep(v.rootInode>>v.inopLog, 1)
	if level := int(be.U32(b, 28)); level < 1 || level > maxLevels {
		return nil, volume.Corrupt("free-space tree of group %d with %d levels", number, level)
	}
	if err := g.walk(b); err != nil {
		return nil, fmt.Errorf("group %d: %w", number, err)
	}
	return g, nil
}

// walk goes through the tree twice: to learn which blocks it takes itself,
// which no record may then call free.
func (g *group) walk(header []byte) error {
	root, level := int64(be.U32(header, 16)), int(be.U32(header, 28))-1
	if err := g.tree(root, level); err != nil {
		return err
	}
	if free, longest := int64(be.U32(header, 52)), int64(be.U32(header, 56)); g.free != free || g.longest != longest {
		return volume.Corrupt("%d blocks are free, at most %d together; its header says %d and %d", g.free, g.longest, free, longest)
	}
	slices.SortFunc(g.own, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	g.next, g.nodes, g.emitting = 0, 0, true
	return g.tree(root, level)
}

// keep notes that blocks are in use, when they lie in this group.
func (g *group) keep(block uint64, length int64) {
	v := g.m.v
	if block != 0 && int64(block>>v.agLog) == g.number {
		in := int64(block & (1<<v.agLog - 1))
		g.own = append(g.own, span{in, in + length})
	}
}

// tree walks a block of the tree (xfs_btree_sblock). The level falls by one
// from block to block and every block holds records behind all before it, so
// there is an end, whatever the bytes say.
func (g *group) tree(block int64, level int) error {
	v := g.m.v
	if block <= 0 || block >= g.length || g.nodes >= g.length {
		return volume.Corrupt("free-space tree leads to block %d of %d", block, g.length)
	}
	g.nodes++
	if !g.emitting {
		g.own = append(g.own, span{block, block + 1})
	}
	b := make([]byte, v.block)
	if _, err := v.dev.ReadAt(b, (g.number*v.agBlocks+block)*v.block); err != nil {
		return err
	}
	magic, header := uint32(0x41425442), 16 // ABTB
	if v.v5 {
		magic, header = 0x41423342, 56 // AB3B
		at := uint64((g.number*v.agBlocks + block) * (v.block / 512))
		if !sumFits(b, 52) || be.U64(b, 16) != at || int64(be.U32(b, 48)) != g.number || string(b[32:48]) != string(v.uuid[:]) {
			return volume.Corrupt("checksum of block %d of the free-space tree", block)
		}
	}
	count, body := int(be.U16(b, 6)), b[header:]
	room := len(body) / 8
	if level > 0 {
		room = len(body) / 12
	}
	// Only a root may be empty: that of a full group.
	if be.U32(b, 0) != magic || int(be.U16(b, 4)) != level || count > room || count == 0 && (level > 0 || g.nodes > 1) {
		return volume.Corrupt("block %d of the free-space tree, with %d entries at level %d", block, count, be.U16(b, 4))
	}
	for i := range count {
		var err error
		if level > 0 {
			err = g.tree(int64(be.U32(body, 8*room+4*i)), level-1)
		} else {
			err = g.record(int64(be.U32(body, 8*i)), int64(be.U32(body, 8*i+4)))
		}
		if err != nil || g.finished {
			return err
		}
	}
	return nil
}

// record takes one free extent. Two that touch would be one in a sound tree.
func (g *group) record(start, length int64) error {
	end := start + length // both are below 2^32
	if length == 0 || end > g.length || start < g.next || start == g.next && g.next > 0 {
		return volume.Corrupt("free extent of %d blocks at %d", length, start)
	}
	g.next = end
	if !g.emitting {
		g.free, g.longest = g.free+length, max(g.longest, length)
		return nil
	}
	for len(g.own) > 0 && g.own[0].end <= start {
		g.own = g.own[1:]
	}
	if len(g.own) > 0 && g.own[0].start < end {
		return volume.Corrupt("the tree calls metadata free, at block %d", max(start, g.own[0].start))
	}
	v := g.m.v
	g.finished = !g.m.emit((g.number*v.agBlocks+start)*v.block, length*v.block)
	return nil
}
