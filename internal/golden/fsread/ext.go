package fsread

import (
	"encoding/binary"
	"time"

	"github.com/gild-dev/gild/internal/disk/signature"
)

// Feature bits and flags of ext2, ext3 and ext4, as in the kernel's fs/ext4/ext4.h.
const (
	extCompatJournal      = 0x4
	extCompatSparseSuper2 = 0x200

	extROSparseSuper = 0x1

	extIncompatFileType = 0x2
	extIncompatRecover  = 0x4
	extIncompatMetaBG   = 0x10
	extIncompat64Bit    = 0x80
	// What this reader understands or may ignore: the above, extents 0x40, MMP 0x100, flex_bg 0x200, ea_inode 0x400,
	// csum_seed 0x2000, largedir 0x4000, inline_data 0x8000, encrypt 0x10000 (refused file by file), casefold 0x20000.
	extIncompatKnown = 0x3e7d6

	extStateClean = 0x1
	extStateError = 0x2

	extRootInode = 2

	extFlagEncrypt = 0x800
	extFlagExtents = 0x80000
	extFlagInline  = 0x10000000
)

// extVolume reads ext2, ext3 and ext4.
type extVolume struct {
	dev           *pageCache
	dirty         bool
	journalInode  uint32
	compat        uint32
	incompat      uint32
	roCompat      uint32
	block         int64 // block size in bytes
	blocks        int64 // blocks of the file system
	firstData     int64 // block that group 0 begins with
	perGroup      int64 // blocks of a group
	inodes        int64
	inodesInGroup int64
	inodeSize     int64
	descSize      int64
	firstMetaBG   int64
	backupGroups  [2]uint32
}

// extInode is what a node needs later.
type extInode struct {
	flags  uint32
	blocks uint64   // 512-byte sectors, or blocks for huge files
	acl    bool     // has an extended attribute block, which counts in blocks
	block  [60]byte // extent tree, block map, or inline data
	more   []byte   // the rest of inline data, out of the attribute system.data
}

func openExt(dev *pageCache) (*extVolume, error) {
	sb := make([]byte, 1024)
	if _, err := dev.ReadAt(sb, 1024); err != nil {
		return nil, err
	}
	v := &extVolume{
		dev:           dev,
		compat:        le32(sb, 0x5c),
		incompat:      le32(sb, 0x60),
		roCompat:      le32(sb, 0x64),
		inodes:        int64(le32(sb, 0)),
		blocks:        int64(le32(sb, 4)),
		firstData:     int64(le32(sb, 0x14)),
		perGroup:      int64(le32(sb, 0x20)),
		inodesInGroup: int64(le32(sb, 0x28)),
		inodeSize:     128,
		descSize:      32,
		firstMetaBG:   int64(le32(sb, 0x104)),
		backupGroups:  [2]uint32{le32(sb, 0x24c), le32(sb, 0x250)},
	}
	if le32(sb, 0x4c) > 0 { // revision 1: the inode size is stored
		v.inodeSize = int64(le16(sb, 0x58))
	} else {
		v.compat, v.incompat, v.roCompat = 0, 0, 0
	}
	if unknown := v.incompat &^ extIncompatKnown; unknown != 0 {
		return nil, &UnsupportedError{Kind: signature.ExtKind(sb), Reason: featureBits(unknown)}
	}
	if v.incompat&extIncompat64Bit != 0 {
		v.blocks |= int64(le32(sb, 0x150)) << 32
		v.descSize = int64(le16(sb, 0xfe))
	}
	if v.compat&extCompatJournal != 0 {
		v.journalInode = le32(sb, 0xe0)
	}
	state := le16(sb, 0x3a)
	v.dirty = v.incompat&extIncompatRecover != 0 || state&extStateClean == 0 || state&extStateError != 0
	return v, v.check(le32(sb, 0x18))
}

// check holds the superblock against itself and the device, so that no later product overflows.
func (v *extVolume) check(logBlock uint32) error {
	if logBlock > 6 {
		return corrupt("block size 2^%d KiB", logBlock)
	}
	v.block = 1024 << logBlock
	switch {
	case v.blocks <= 0 || v.blocks > v.dev.size/v.block:
		return corrupt("%d blocks of %d bytes on a partition of %d bytes: image cut short?", v.blocks, v.block, v.dev.size)
	case v.perGroup == 0 || v.firstData > 1:
		return corrupt("%d blocks a group from block %d on", v.perGroup, v.firstData)
	case v.inodeSize < 128 || v.inodeSize > v.block || v.inodeSize&(v.inodeSize-1) != 0:
		return corrupt("inode size %d", v.inodeSize)
	case v.inodesInGroup <= 0 || v.inodesInGroup > 8*v.block:
		return corrupt("%d inodes a group", v.inodesInGroup)
	case v.descSize < 32 || v.descSize > v.block || v.descSize&(v.descSize-1) != 0:
		return corrupt("group descriptor size %d", v.descSize)
	}
	return nil
}

// descriptorBlock finds the block of group descriptors with the given index. Without meta_bg all follow the superblock;
// with it each lies at the start of the first group that it describes.
func (v *extVolume) descriptorBlock(index int64) int64 {
	super := 1024 / v.block // not firstData: with bigalloc that is 0 even for blocks of 1 KiB
	if v.incompat&extIncompatMetaBG == 0 || index < v.firstMetaBG {
		return super + 1 + index
	}
	group := index * (v.block / v.descSize)
	switch at := v.firstData + group*v.perGroup; {
	case group == 0:
		return super + 1
	case v.hasSuper(group):
		return at + 1
	default:
		return at
	}
}

// hasSuper tells whether a group begins with a copy of the superblock.
func (v *extVolume) hasSuper(group int64) bool {
	switch {
	case group == 0:
		return true
	case v.compat&extCompatSparseSuper2 != 0:
		return group == int64(v.backupGroups[0]) || group == int64(v.backupGroups[1])
	case group == 1 || v.roCompat&extROSparseSuper == 0:
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// inodeAt reads the bytes of an inode.
func (v *extVolume) inodeAt(id uint64) ([]byte, error) {
	if id == 0 || id > uint64(v.inodes) {
		return nil, corrupt("inode %d of %d", id, v.inodes)
	}
	group, index := int64(id-1)/v.inodesInGroup, int64(id-1)%v.inodesInGroup
	perBlock := v.block / v.descSize
	block := v.descriptorBlock(group / perBlock)
	if block < 0 || block >= v.blocks {
		return nil, corrupt("descriptors of group %d are outside the file system", group)
	}
	desc := make([]byte, v.descSize)
	if _, err := v.dev.ReadAt(desc, block*v.block+group%perBlock*v.descSize); err != nil {
		return nil, err
	}
	table := int64(le32(desc, 8))
	if v.descSize >= 64 {
		table |= int64(le32(desc, 0x28)) << 32
	}
	if table <= 0 || table >= v.blocks {
		return nil, corrupt("inode table of group %d is outside the file system", group)
	}
	raw := make([]byte, v.inodeSize)
	_, err := v.dev.ReadAt(raw, table*v.block+index*v.inodeSize)
	return raw, err
}

func (v *extVolume) root() (*node, error) {
	n, err := v.load(dirent{id: extRootInode})
	if err == nil && !n.mode.IsDir() {
		err = corrupt("inode %d is not a directory", extRootInode)
	}
	return n, err
}

func (v *extVolume) foldsCase() bool { return false }

func (v *extVolume) load(e dirent) (*node, error) {
	raw, err := v.inodeAt(e.id)
	if err != nil {
		return nil, err
	}
	mode := modeFromUnix(le16(raw, 0))
	ino := &extInode{flags: le32(raw, 0x20), blocks: uint64(le32(raw, 0x1c)), acl: le32(raw, 0x68) != 0}
	copy(ino.block[:], raw[0x28:0x64])
	size := uint64(le32(raw, 4))
	if mode.IsRegular() || mode.IsDir() && v.incompat&0x4000 != 0 {
		size |= uint64(le32(raw, 0x6c)) << 32
	}
	if size > 1<<62 || le16(raw, 0x1a) == 0 {
		return nil, corrupt("inode %d is not in use or has no sane size", e.id)
	}
	if ino.flags&extFlagInline != 0 {
		if ino.more, err = extInlineData(raw); err != nil {
			return nil, err
		}
	}
	// Times are signed 32 bits; two more bits of a large inode extend them to 2446.
	sec := int64(int32(le32(raw, 0x10)))
	var nsec int64
	if v.inodeSize > 128 && le16(raw, 0x80) >= 12 {
		extra := le32(raw, 0x88)
		sec += int64(extra&3) << 32
		nsec = int64(extra >> 2)
	}
	return &node{id: e.id, mode: mode, size: int64(size), time: time.Unix(sec, nsec).UTC(), raw: ino}, nil
}

// extInlineData finds the attribute system.data among those stored in the inode: what is beyond the first 60 bytes.
func extInlineData(raw []byte) ([]byte, error) {
	if len(raw) < 0x84 {
		return nil, nil
	}
	start := 0x80 + int(le16(raw, 0x80))
	if start+4 > len(raw) || le32(raw, start) != 0xea020000 {
		return nil, nil
	}
	attrs := raw[start+4:]
	for at := 0; at+16 <= len(attrs) && le32(attrs, at) != 0; {
		nameLen, prefix := int(attrs[at]), attrs[at+1]
		end := at + 16 + nameLen
		if end > len(attrs) {
			return nil, corrupt("extended attribute outside its inode")
		}
		if prefix == 7 && string(attrs[at+16:end]) == "data" {
			off, size := int64(le16(attrs, at+2)), int64(le32(attrs, at+8))
			if off+size > int64(len(attrs)) {
				return nil, corrupt("inline data outside its inode")
			}
			return attrs[off : off+size], nil
		}
		at = (end + 3) &^ 3
	}
	return nil, nil
}

func (v *extVolume) readlink(n *node) (string, error) {
	if n.size > maxSymlink {
		return "", corrupt("symbolic link of %d bytes", n.size)
	}
	ino := n.raw.(*extInode)
	if ino.flags&(extFlagInline|extFlagExtents|extFlagEncrypt) == 0 && n.size < int64(len(ino.block)) && ino.dataless(v.block) {
		return string(ino.block[:n.size]), nil
	}
	body, err := v.content(n)
	if err != nil {
		return "", err
	}
	target := make([]byte, n.size)
	if got, err := body.ReadAt(target, 0); got < len(target) {
		return "", err
	}
	return string(target), nil
}

// dataless tells a fast link, which is stored in the inode, from a short one that an old kernel put into a block.
func (i *extInode) dataless(block int64) bool {
	if i.acl {
		return i.blocks <= uint64(block/512)
	}
	return i.blocks == 0
}

// content maps a body; directories and links have one too.
func (v *extVolume) content(n *node) (*content, error) {
	ino := n.raw.(*extInode)
	c := &content{r: v.dev, size: n.size}
	if ino.flags&extFlagEncrypt != 0 {
		return nil, &UnsupportedError{Kind: "ext4", Reason: "the file is encrypted"}
	}
	if ino.flags&extFlagInline != 0 {
		c.inline = append(ino.block[:len(ino.block):len(ino.block)], ino.more...)
		return c, nil
	}
	var err error
	if ino.flags&extFlagExtents != 0 {
		c.runs, err = v.extentRuns(ino)
	} else {
		c.runs, err = v.blockRuns(ino, n.size)
	}
	return c, err
}

var _ volume = (*extVolume)(nil)

func le16(b []byte, off int) uint16 { return binary.LittleEndian.Uint16(b[off:]) }
func le32(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
