// Package ext reads the ext family: ext2, ext3, ext4.
package ext

import (
	"time"

	"github.com/gild-dev/gild/internal/disk/signature"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// Feature bits and flags of ext2, ext3 and ext4, as in the kernel's
// fs/ext4/ext4.h.
const (
	compatJournal      = 0x4
	compatSparseSuper2 = 0x200

	roSparseSuper = 0x1

	incompatFileType = 0x2
	incompatRecover  = 0x4
	incompatMetaBG   = 0x10
	Incompat64Bit    = 0x80
	// What this reader understands or may ignore: the above, extents 0x40, MMP
	// 0x100, flex_bg 0x200, ea_inode 0x400, csum_seed 0x2000, largedir 0x4000,
	// inline_data 0x8000, encrypt 0x10000 (refused file by file), casefold 0x20000.
	incompatKnown = 0x3e7d6

	stateClean = 0x1
	stateError = 0x2

	rootInode = 2

	flagEncrypt = 0x800
	flagExtents = 0x80000
	flagInline  = 0x10000000
)

// Volume reads ext2, ext3 and ext4.
type Volume struct {
	dev           *volume.Device
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

// inode is what a node needs later.
type inode struct {
	flags  uint32
	blocks uint64   // 512-byte sectors, or blocks for huge files
	acl    bool     // has an extended attribute block, which counts in blocks
	block  [60]byte // extent tree, block map, or inline data
	more   []byte   // the rest of inline data, out of the attribute system.data
}

// Open reads the superblock. The error wraps [volume.ErrCorrupt], or is a
// [*volume.UnsupportedError], where the device itself is well.
func Open(dev *volume.Device) (*Volume, error) {
	sb := make([]byte, 1024)
	if _, err := dev.ReadAt(sb, 1024); err != nil {
		return nil, err
	}
	v := &Volume{
		dev:           dev,
		compat:        le.U32(sb, 0x5c),
		incompat:      le.U32(sb, 0x60),
		roCompat:      le.U32(sb, 0x64),
		inodes:        int64(le.U32(sb, 0)),
		blocks:        int64(le.U32(sb, 4)),
		firstData:     int64(le.U32(sb, 0x14)),
		perGroup:      int64(le.U32(sb, 0x20)),
		inodesInGroup: int64(le.U32(sb, 0x28)),
		inodeSize:     128,
		descSize:      32,
		firstMetaBG:   int64(le.U32(sb, 0x104)),
		backupGroups:  [2]uint32{le.U32(sb, 0x24c), le.U32(sb, 0x250)},
	}
	if le.U32(sb, 0x4c) > 0 { // revision 1: the inode size is stored
		v.inodeSize = int64(le.U16(sb, 0x58))
	} else {
		v.compat, v.incompat, v.roCompat = 0, 0, 0
	}
	if unknown := v.incompat &^ incompatKnown; unknown != 0 {
		return nil, &volume.UnsupportedError{Kind: signature.ExtKind(sb), Reason: volume.FeatureBits(unknown)}
	}
	if v.incompat&Incompat64Bit != 0 {
		v.blocks |= int64(le.U32(sb, 0x150)) << 32
		v.descSize = int64(le.U16(sb, 0xfe))
	}
	if v.compat&compatJournal != 0 {
		v.journalInode = le.U32(sb, 0xe0)
	}
	state := le.U16(sb, 0x3a)
	v.dirty = v.incompat&incompatRecover != 0 || state&stateClean == 0 || state&stateError != 0
	return v, v.check(le.U32(sb, 0x18))
}

// check holds the superblock against itself and the device, so that no later
// product overflows.
func (v *Volume) check(logBlock uint32) error {
	if logBlock > 6 {
		return volume.Corrupt("block size 2^%d KiB", logBlock)
	}
	v.block = 1024 << logBlock
	switch {
	case v.blocks <= 0 || v.blocks > v.dev.Size/v.block:
		return volume.Corrupt("%d blocks of %d bytes on a partition of %d bytes: image cut short?", v.blocks, v.block, v.dev.Size)
	case v.perGroup == 0 || v.firstData > 1:
		return volume.Corrupt("%d blocks a group from block %d on", v.perGroup, v.firstData)
	case v.inodeSize < 128 || v.inodeSize > v.block || v.inodeSize&(v.inodeSize-1) != 0:
		return volume.Corrupt("inode size %d", v.inodeSize)
	case v.inodesInGroup <= 0 || v.inodesInGroup > 8*v.block:
		return volume.Corrupt("%d inodes a group", v.inodesInGroup)
	case v.descSize < 32 || v.descSize > v.block || v.descSize&(v.descSize-1) != 0:
		return volume.Corrupt("group descriptor size %d", v.descSize)
	}
	return nil
}

// descriptorBlock finds the block of group descriptors with the given index.
// Without meta_bg all follow the superblock; with it each lies at the start of
// the first group that it describes.
func (v *Volume) descriptorBlock(index int64) int64 {
	super := 1024 / v.block // not firstData: with bigalloc that is 0 even for blocks of 1 KiB
	if v.incompat&incompatMetaBG == 0 || index < v.firstMetaBG {
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
func (v *Volume) hasSuper(group int64) bool {
	switch {
	case group == 0:
		return true
	case v.compat&compatSparseSuper2 != 0:
		return group == int64(v.backupGroups[0]) || group == int64(v.backupGroups[1])
	case group == 1 || v.roCompat&roSparseSuper == 0:
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
func (v *Volume) inodeAt(id uint64) ([]byte, error) {
	if id == 0 || id > uint64(v.inodes) {
		return nil, volume.Corrupt("inode %d of %d", id, v.inodes)
	}
	group, index := int64(id-1)/v.inodesInGroup, int64(id-1)%v.inodesInGroup
	perBlock := v.block / v.descSize
	block := v.descriptorBlock(group / perBlock)
	if block < 0 || block >= v.blocks {
		return nil, volume.Corrupt("descriptors of group %d are outside the file system", group)
	}
	desc := make([]byte, v.descSize)
	if _, err := v.dev.ReadAt(desc, block*v.block+group%perBlock*v.descSize); err != nil {
		return nil, err
	}
	table := int64(le.U32(desc, 8))
	if v.descSize >= 64 {
		table |= int64(le.U32(desc, 0x28)) << 32
	}
	if table <= 0 || table >= v.blocks {
		return nil, volume.Corrupt("inode table of group %d is outside the file system", group)
	}
	raw := make([]byte, v.inodeSize)
	_, err := v.dev.ReadAt(raw, table*v.block+index*v.inodeSize)
	return raw, err
}

// Root is the root directory.
func (v *Volume) Root() (*volume.Node, error) {
	n, err := v.Load(volume.Entry{ID: rootInode})
	if err == nil && !n.Mode.IsDir() {
		err = volume.Corrupt("inode %d is not a directory", rootInode)
	}
	return n, err
}

// FoldsCase is false: a directory that folds case is read by the names that it
// stores.
func (v *Volume) FoldsCase() bool { return false }

// Dirty reports that the volume was not cleanly unmounted.
func (v *Volume) Dirty() bool { return v.dirty }

// Load reads the inode that a directory entry names.
func (v *Volume) Load(e volume.Entry) (*volume.Node, error) {
	raw, err := v.inodeAt(e.ID)
	if err != nil {
		return nil, err
	}
	mode := volume.UnixMode(le.U16(raw, 0))
	ino := &inode{flags: le.U32(raw, 0x20), blocks: uint64(le.U32(raw, 0x1c)), acl: le.U32(raw, 0x68) != 0}
	copy(ino.block[:], raw[0x28:0x64])
	size := uint64(le.U32(raw, 4))
	if mode.IsRegular() || mode.IsDir() && v.incompat&0x4000 != 0 {
		size |= uint64(le.U32(raw, 0x6c)) << 32
	}
	if size > 1<<62 || le.U16(raw, 0x1a) == 0 {
		return nil, volume.Corrupt("inode %d is not in use or has no sane size", e.ID)
	}
	if ino.flags&flagInline != 0 {
		if ino.more, err = inlineData(raw); err != nil {
			return nil, err
		}
	}
	// Times are signed 32 bits; two more bits of a large inode extend them to 2446.
	sec := int64(int32(le.U32(raw, 0x10)))
	var nsec int64
	if v.inodeSize > 128 && le.U16(raw, 0x80) >= 12 {
		extra := le.U32(raw, 0x88)
		sec += int64(extra&3) << 32
		nsec = int64(extra >> 2)
	}
	return &volume.Node{ID: e.ID, Mode: mode, Size: int64(size), Time: time.Unix(sec, nsec).UTC(), Raw: ino}, nil
}

// inlineData finds the attribute system.data among those stored in the inode:
// what is beyond the first 60 bytes.
func inlineData(raw []byte) ([]byte, error) {
	if len(raw) < 0x84 {
		return nil, nil
	}
	start := 0x80 + int(le.U16(raw, 0x80))
	if start+4 > len(raw) || le.U32(raw, start) != 0xea020000 {
		return nil, nil
	}
	attrs := raw[start+4:]
	for at := 0; at+16 <= len(attrs) && le.U32(attrs, at) != 0; {
		nameLen, prefix := int(attrs[at]), attrs[at+1]
		end := at + 16 + nameLen
		if end > len(attrs) {
			return nil, volume.Corrupt("extended attribute outside its inode")
		}
		if prefix == 7 && string(attrs[at+16:end]) == "data" {
			off, size := int64(le.U16(attrs, at+2)), int64(le.U32(attrs, at+8))
			if off+size > int64(len(attrs)) {
				return nil, volume.Corrupt("inline data outside its inode")
			}
			return attrs[off : off+size], nil
		}
		at = (end + 3) &^ 3
	}
	return nil, nil
}

// ReadLink is the target of a symbolic link.
func (v *Volume) ReadLink(n *volume.Node) (string, error) {
	if n.Size > volume.MaxSymlink {
		return "", volume.Corrupt("symbolic link of %d bytes", n.Size)
	}
	ino := n.Raw.(*inode)
	if ino.flags&(flagInline|flagExtents|flagEncrypt) == 0 && n.Size < int64(len(ino.block)) && ino.dataless(v.block) {
		return string(ino.block[:n.Size]), nil
	}
	body, err := v.Content(n)
	if err != nil {
		return "", err
	}
	target := make([]byte, n.Size)
	if got, err := body.ReadAt(target, 0); got < len(target) {
		return "", err
	}
	return string(target), nil
}

// dataless tells a fast link, which is stored in the inode, from a short one
// that an old kernel put into a block.
func (i *inode) dataless(block int64) bool {
	if i.acl {
		return i.blocks <= uint64(block/512)
	}
	return i.blocks == 0
}

// Content maps a body; directories and links have one too.
func (v *Volume) Content(n *volume.Node) (*volume.Content, error) {
	ino := n.Raw.(*inode)
	c := &volume.Content{R: v.dev, Size: n.Size}
	if ino.flags&flagEncrypt != 0 {
		return nil, &volume.UnsupportedError{Kind: "ext4", Reason: "the file is encrypted"}
	}
	if ino.flags&flagInline != 0 {
		c.Inline = append(ino.block[:len(ino.block):len(ino.block)], ino.more...)
		return c, nil
	}
	var err error
	if ino.flags&flagExtents != 0 {
		c.Runs, err = v.extentRuns(ino)
	} else {
		c.Runs, err = v.blockRuns(ino, n.Size)
	}
	return c, err
}

var _ volume.Volume = (*Volume)(nil)
