package ext

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// Features that do not change what the block bitmaps mean. Any other one of
// either kind may, so it keeps the free space where it is, although the files
// can be read.
const (
	// dir_prealloc, imagic, has_journal, ext_attr, resize_inode, dir_index,
	// sparse_super2, fast_commit, stable_inodes, orphan_file
	compatFree = 0x1e3f
	// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink,
	// extra_isize, quota, bigalloc, metadata_csum, readonly, project, verity,
	// orphan_present
	roFree = 0x1b77f

	roGroupCsum    = 0x10
	roBigalloc     = 0x200
	roMetadataCsum = 0x400
	incompatSeed   = 0x2000

	groupBlockUninit = 0x2
)

// maxGroups bounds the descriptors that are looked through: 128 TiB in groups
// of the usual size.
const maxGroups = 1 << 20

// span is a range of blocks, its end not included.
type span struct{ start, end int64 }

// freeSpace reads the block bitmaps (fs/ext4/balloc.c, bitmap.c and super.c in
// the kernel). A bit stands for a cluster, which without bigalloc is a block.
type freeSpace struct {
	v                *Volume
	ratio            int64 // blocks of a cluster
	clustersPerGroup int64
	groups           int64
	reserved         int64 // descriptor blocks kept for growth
	groupCsum        bool
	metadataCsum     bool
	seed             uint32
	uuid             []byte
	meta             []span // blocks of the file system's own, sorted, merged
}

// group is what a group descriptor says of a group's blocks.
type group struct {
	span                        // blocks of the group
	bitmap, inodeBitmap, inodes int64
	free                        int64 // clusters
	uninit                      bool  // the bitmap was never written: only metadata is in use
	csum                        uint32
	csumMask                    uint32
}

// Free gives emit the ranges that the maps call free, in bytes and in order,
// until it returns false. An error means that nothing that was given before may
// be believed.
func (v *Volume) Free(emit func(start, length int64) bool) error {
	m, err := v.freeMap()
	if err != nil {
		return err
	}
	if err := m.findMeta(); err != nil {
		return err
	}
	meta := m.meta
	for g := range m.groups {
		d, err := m.group(g)
		if err != nil {
			return err
		}
		for len(meta) > 0 && meta[0].end <= d.start {
			meta = meta[1:]
		}
		if on, err := m.groupFree(d, meta, emit); err != nil || !on {
			if err != nil {
				err = fmt.Errorf("group %d: %w", g, err)
			}
			return err
		}
	}
	return nil
}

// freeMap checks the superblock for what the maps depend on.
func (v *Volume) freeMap() (*freeSpace, error) {
	sb := make([]byte, 1024)
	if _, err := v.dev.ReadAt(sb, 1024); err != nil {
		return nil, err
	}
	m := &freeSpace{
		v: v, ratio: 1, clustersPerGroup: v.perGroup,
		reserved:     int64(le.U16(sb, 0xce)),
		metadataCsum: v.roCompat&roMetadataCsum != 0,
		uuid:         sb[0x68:0x78],
	}
	m.groupCsum = v.roCompat&roGroupCsum != 0 && !m.metadataCsum
	m.seed = volume.Castagnoli(^uint32(0), m.uuid)
	if v.incompat&incompatSeed != 0 {
		m.seed = le.U32(sb, 0x270)
	}
	if v.roCompat&roBigalloc != 0 {
		if log := le.U32(sb, 0x1c); log > 20 || 1024<<log < v.block {
			return nil, volume.Corrupt("clusters of 2^%d KiB", log)
		}
		m.ratio, m.clustersPerGroup = 1024<<le.U32(sb, 0x1c)/v.block, int64(le.U32(sb, 0x24))
	}
	m.groups = (v.blocks - v.firstData + v.perGroup - 1) / v.perGroup
	switch {
	case v.compat&^compatFree != 0:
		return nil, &volume.UnsupportedError{Kind: "ext4", Reason: fmt.Sprintf("unknown compatible features %#x", v.compat&^compatFree)}
	case v.roCompat&^roFree != 0:
		return nil, &volume.UnsupportedError{Kind: "ext4", Reason: fmt.Sprintf("unknown read-only compatible features %#x", v.roCompat&^roFree)}
	case m.metadataCsum && (sb[0x175] != 1 || volume.Castagnoli(^uint32(0), sb[:0x3fc]) != le.U32(sb, 0x3fc)):
		return nil, volume.Corrupt("checksum of the superblock")
	case m.clustersPerGroup > 8*v.block || m.clustersPerGroup%8 != 0 || m.clustersPerGroup*m.ratio != v.perGroup:
		return nil, volume.Corrupt("%d clusters in a group of %d blocks", m.clustersPerGroup, v.perGroup)
	case m.groups > maxGroups || m.groups*v.inodesInGroup != v.inodes:
		return nil, volume.Corrupt("%d groups of %d inodes for %d inodes", m.groups, v.inodesInGroup, v.inodes)
	}
	return m, nil
}

// group reads one descriptor and checks it against its checksum and the file
// system.
func (m *freeSpace) group(g int64) (group, error) {
	v := m.v
	perBlock := v.block / v.descSize
	block := v.descriptorBlock(g / perBlock)
	if block < 0 || block >= v.blocks {
		return group{}, volume.Corrupt("descriptors of group %d are outside the file system", g)
	}
	b := make([]byte, v.descSize)
	if _, err := v.dev.ReadAt(b, block*v.block+g%perBlock*v.descSize); err != nil {
		return group{}, err
	}
	if m.groupCsum && crc16(m.descriptorPieces(g, b)...) != le.U16(b, 0x1e) || m.metadataCsum && m.descriptorSum(g, b) != le.U16(b, 0x1e) {
		return group{}, volume.Corrupt("checksum of the descriptor of group %d", g)
	}
	start := v.firstData + g*v.perGroup
	d := group{
		span:        span{start, min(start+v.perGroup, v.blocks)},
		bitmap:      int64(le.U32(b, 0)),
		inodeBitmap: int64(le.U32(b, 4)),
		inodes:      int64(le.U32(b, 8)),
		free:        int64(le.U16(b, 0xc)),
		csum:        uint32(le.U16(b, 0x18)), csumMask: 0xffff,
	}
	// Without checksums of groups the kernel does not look at the flag.
	d.uninit = le.U16(b, 0x12)&groupBlockUninit != 0 && (m.groupCsum || m.metadataCsum)
	if v.descSize >= 64 {
		d.bitmap |= int64(le.U32(b, 0x20)) << 32
		d.inodeBitmap |= int64(le.U32(b, 0x24)) << 32
		d.inodes |= int64(le.U32(b, 0x28)) << 32
		d.free |= int64(le.U16(b, 0x2c)) << 16
		d.csum |= uint32(le.U16(b, 0x38)) << 16
		d.csumMask = ^uint32(0)
	}
	for _, s := range m.own(d) {
		if s.start <= 0 || s.end > v.blocks || s.start >= s.end {
			return group{}, volume.Corrupt("metadata of group %d is outside the file system", g)
		}
	}
	return d, nil
}

// descriptorPieces is what crc16 covers of a descriptor: not its own field.
func (m *freeSpace) descriptorPieces(g int64, b []byte) [][]byte {
	pieces := [][]byte{m.uuid, {byte(g), byte(g >> 8), byte(g >> 16), byte(g >> 24)}, b[:0x1e]}
	if m.v.incompat&Incompat64Bit != 0 {
		pieces = append(pieces, b[0x20:])
	}
	return pieces
}

// descriptorSum is the checksum that metadata_csum puts into a descriptor, with
// its own field taken as zero.
func (m *freeSpace) descriptorSum(g int64, b []byte) uint16 {
	sum := volume.Castagnoli(m.seed, []byte{byte(g), byte(g >> 8), byte(g >> 16), byte(g >> 24)})
	sum = volume.Castagnoli(sum, b[:0x1e])
	sum = volume.Castagnoli(sum, []byte{0, 0})
	return uint16(volume.Castagnoli(sum, b[0x20:]))
}

// own is where a group's bitmaps and inodes lie. With flex_bg that may be in
// another group.
func (m *freeSpace) own(d group) [3]span {
	table := (m.v.inodesInGroup*m.v.inodeSize + m.v.block - 1) / m.v.block
	return [3]span{{d.bitmap, d.bitmap + 1}, {d.inodeBitmap, d.inodeBitmap + 1}, {d.inodes, d.inodes + table}}
}

// findMeta collects the blocks that no sound bitmap calls free.
func (m *freeSpace) findMeta() error {
	for g := range m.groups {
		d, err := m.group(g)
		if err != nil {
			return err
		}
		m.meta = append(m.meta, span{d.start, d.start + m.base(g)})
		for _, s := range m.own(d) {
			// Bitmaps of a flex group follow each other, so most merge as they come.
			if n := len(m.meta); m.meta[n-1].end == s.start {
				m.meta[n-1].end = s.end
			} else {
				m.meta = append(m.meta, s)
			}
		}
	}
	slices.SortFunc(m.meta, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	merged := m.meta[:0]
	for _, s := range m.meta {
		if n := len(merged); s.start < s.end && n > 0 && s.start <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, s.end)
		} else if s.start < s.end {
			merged = append(merged, s)
		}
	}
	m.meta = merged
	return nil
}

// base is how many blocks at its start a group gives to the superblock and the
// descriptors (ext4_num_base_meta_blocks).
func (m *freeSpace) base(g int64) int64 {
	v := m.v
	perBlock := v.block / v.descSize
	super := v.hasSuper(g)
	var n int64
	if super {
		n = 1
		if g == 0 && v.firstData == 0 && v.block == 1024 { // bigalloc: the superblock is in block 1 even so
			n = 2
		}
	}
	if v.incompat&incompatMetaBG != 0 && g >= v.firstMetaBG*perBlock {
		if in := g % perBlock; in == 0 || in == 1 || in == perBlock-1 {
			n++
		}
		return n
	}
	if super {
		n += m.reserved
		if v.incompat&incompatMetaBG != 0 {
			n += v.firstMetaBG
		} else {
			n += (m.groups + perBlock - 1) / perBlock
		}
	}
	return n
}

// groupFree emits the free clusters of one group. meta begins with the first
// metadata that ends in the group or behind.
func (m *freeSpace) groupFree(d group, meta []span, emit func(start, length int64) bool) (on bool, err error) {
	clusters := (d.end - d.start + m.ratio - 1) / m.ratio
	bitmap, err := m.bitmap(d, clusters, meta)
	if err != nil {
		return false, err
	}
	var count int64
	for at := int64(0); at < clusters; {
		used := nextBit(bitmap, at, clusters, 0)
		end := nextBit(bitmap, used, clusters, 0xff)
		at = end
		if used == end {
			break
		}
		count += end - used
		s := span{d.start + used*m.ratio, min(d.start+end*m.ratio, d.end)}
		for len(meta) > 0 && meta[0].end <= s.start {
			meta = meta[1:]
		}
		if len(meta) > 0 && meta[0].start < s.end {
			return false, volume.Corrupt("the map calls metadata free, at block %d", max(meta[0].start, s.start))
		}
		if !emit(s.start*m.v.block, (s.end-s.start)*m.v.block) {
			return false, nil
		}
	}
	if count != d.free {
		return false, volume.Corrupt("%d clusters are free, its descriptor says %d", count, d.free)
	}
	return true, nil
}

// bitmap reads the map of a group, or makes the one that the kernel would
// (ext4_init_block_bitmap).
func (m *freeSpace) bitmap(d group, clusters int64, meta []span) ([]byte, error) {
	b := make([]byte, m.v.block)
	if d.uninit {
		for _, s := range meta {
			if s.start >= d.end {
				break
			}
			last := (min(s.end, d.end) - 1 - d.start) / m.ratio
			for c := max(0, s.start-d.start) / m.ratio; c <= last; c++ {
				b[c/8] |= 1 << (c % 8)
			}
		}
		return b, nil
	}
	if _, err := m.v.dev.ReadAt(b, d.bitmap*m.v.block); err != nil {
		return nil, err
	}
	if sum := volume.Castagnoli(m.seed, b[:m.clustersPerGroup/8]); m.metadataCsum && sum&d.csumMask != d.csum {
		return nil, volume.Corrupt("checksum of the block bitmap")
	}
	return b, nil
}

// nextBit finds the first bit from at on that differs from the bits of flip:
// with 0 the first clear one, with 0xff the first set one. Eight at a time, for
// most of a bitmap is one or the other.
func nextBit(bitmap []byte, at, end int64, flip byte) int64 {
	for at < end {
		b := ^(bitmap[at/8] ^ flip) >> (at % 8) // a one where the bit is looked for
		if b != 0 {
			return min(end, at+int64(bits.TrailingZeros8(b)))
		}
		at = (at/8 + 1) * 8
	}
	return end
}

// crc16 is the CRC-16 of old group descriptors: polynomial 0x8005 reflected,
// begun with ones (lib/crc16.c).
func crc16(pieces ...[]byte) uint16 {
	sum := ^uint16(0)
	for _, p := range pieces {
		for _, c := range p {
			sum ^= uint16(c)
			for range 8 {
				sum = sum>>1 ^ 0xa001*(sum&1)
			}
		}
	}
	return sum
}
