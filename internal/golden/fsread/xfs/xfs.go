// Package xfs reads XFS from version 4 on.
package xfs

import (
	"time"

	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// Feature bits of XFS, as in the kernel's fs/xfs/libxfs/xfs_format.h.
const (
	versionBits = 0xf
	versionDir2 = 0x2000

	features2FType = 0x200

	incompatFType       = 0x1
	incompatNeedsRepair = 0x10
	// What this reader understands or may ignore: ftype, sparse inodes 0x2,
	// meta_uuid 0x4, bigtime 0x8, needsrepair, large extent counters 0x20,
	// exchange-range 0x40, parent pointers 0x80.
	incompatKnown = 0xff

	flagRealtime = 0x1 // di_flags
	flag2BigTime = 0x8 // di_flags2
	flag2NRExt64 = 0x10
)

// Forms of an inode's data fork (di_format).
const (
	formLocal   = 1
	formExtents = 2
	formBtree   = 3
)

// Volume reads XFS, versions 4 and 5.
type Volume struct {
	dev       *volume.Device
	v5        bool
	ftype     bool  // directory entries hold a file type
	block     int64 // block size in bytes
	agBlocks  int64 // blocks of an allocation group
	agCount   int64
	agLog     uint // bits of a block number within a group
	inodeSize int64
	inopLog   uint // bits of an inode number within a block
	dirBlock  int64
	rootInode uint64
	unclean   bool // needs repair
	logStart  int64
	logBytes  int64
	uuid      [16]byte // of metadata, which is what the log's records carry
}

// inode is what a node needs later.
type inode struct {
	format   byte
	realtime bool
	extents  uint64
	fork     []byte
}

// Open reads the superblock. The error wraps [volume.ErrCorrupt], or is a
// [*volume.UnsupportedError], where the device itself is well.
func Open(dev *volume.Device) (*Volume, error) {
	sb := make([]byte, 512)
	if _, err := dev.ReadAt(sb, 0); err != nil {
		return nil, err
	}
	version := be.U16(sb, 100)
	v := &Volume{
		dev:       dev,
		v5:        version&versionBits == 5,
		block:     int64(be.U32(sb, 4)),
		agBlocks:  int64(be.U32(sb, 84)),
		agCount:   int64(be.U32(sb, 88)),
		agLog:     uint(sb[124]),
		inodeSize: int64(be.U16(sb, 104)),
		inopLog:   uint(sb[123]),
		rootInode: be.U64(sb, 56),
	}
	if !v.v5 && (version&versionBits != 4 || version&versionDir2 == 0) {
		return nil, &volume.UnsupportedError{Kind: "xfs", Reason: "format older than version 4"}
	}
	v.ftype = be.U32(sb, 200)&features2FType != 0
	copy(v.uuid[:], sb[32:48])
	if v.v5 {
		incompat := be.U32(sb, 216)
		if unknown := incompat &^ incompatKnown; unknown != 0 {
			return nil, &volume.UnsupportedError{Kind: "xfs", Reason: volume.FeatureBits(unknown)}
		}
		v.ftype = incompat&incompatFType != 0
		v.unclean = incompat&incompatNeedsRepair != 0
		if incompat&0x4 != 0 {
			copy(v.uuid[:], sb[248:264])
		}
	}
	if sb[126] != 0 {
		return nil, volume.Corrupt("mkfs did not finish")
	}
	return v, v.check(sb)
}

// check holds the superblock against itself and the device, so that no later
// product overflows.
func (v *Volume) check(sb []byte) error {
	blocks, blockLog, dirLog := be.U64(sb, 8), sb[120], sb[192]
	switch {
	case blockLog < 9 || blockLog > 16 || v.block != 1<<blockLog:
		return volume.Corrupt("block size %d", v.block)
	case blocks == 0 || blocks > uint64(v.dev.Size/v.block):
		return volume.Corrupt("%d blocks of %d bytes on a partition of %d bytes: image cut short?", blocks, v.block, v.dev.Size)
	case v.agLog > 32 || v.agBlocks <= 0 || v.agBlocks > 1<<v.agLog || v.agCount <= 0:
		return volume.Corrupt("%d groups of %d blocks", v.agCount, v.agBlocks)
	case v.inodeSize < 256 || v.inodeSize > 2048 || v.inodeSize&(v.inodeSize-1) != 0 || v.inodeSize<<v.inopLog != v.block:
		return volume.Corrupt("inode size %d", v.inodeSize)
	case dirLog > 7 || v.block<<dirLog > 1<<16:
		return volume.Corrupt("directory block size 2^%d blocks", dirLog)
	}
	v.dirBlock = v.block << dirLog
	if start := be.U64(sb, 48); start != 0 { // 0: the log is on a device of its own
		var err error
		if v.logStart, err = v.offset(start); err != nil {
			return err
		}
		v.logBytes = int64(be.U32(sb, 96)) * v.block
	}
	return nil
}

// offset translates a block number, whose high bits are the group, to bytes on
// the device.
func (v *Volume) offset(block uint64) (int64, error) {
	group, in := block>>v.agLog, int64(block&(1<<v.agLog-1))
	if group >= uint64(v.agCount) || in >= v.agBlocks {
		return 0, volume.Corrupt("block %#x is in no allocation group", block)
	}
	// Both are below 2^32, so only the last product can leave the device; compare
	// before it.
	at := int64(group)*v.agBlocks + in
	if at >= v.dev.Size/v.block {
		return 0, volume.Corrupt("block %#x is outside the device", block)
	}
	return at * v.block, nil
}

// Root is the root directory.
func (v *Volume) Root() (*volume.Node, error) {
	n, err := v.Load(volume.Entry{ID: v.rootInode})
	if err == nil && !n.Mode.IsDir() {
		err = volume.Corrupt("inode %d is not a directory", v.rootInode)
	}
	return n, err
}

// FoldsCase is false.
func (v *Volume) FoldsCase() bool { return false }

// Load reads the inode that a directory entry names.
func (v *Volume) Load(e volume.Entry) (*volume.Node, error) {
	at, err := v.offset(e.ID >> v.inopLog)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, v.inodeSize)
	if _, err := v.dev.ReadAt(raw, at+int64(e.ID&(1<<v.inopLog-1))*v.inodeSize); err != nil {
		return nil, err
	}
	version := raw[4]
	if be.U16(raw, 0) != 0x494e || version == 0 || version > 3 || (version == 3) != v.v5 {
		return nil, volume.Corrupt("inode %d without its magic number", e.ID)
	}
	if v.v5 && be.U64(raw, 152) != e.ID {
		return nil, volume.Corrupt("inode %d says it is %d", e.ID, be.U64(raw, 152))
	}
	mode, size := be.U16(raw, 2), be.U64(raw, 56)
	if mode == 0 || size > 1<<62 {
		return nil, volume.Corrupt("inode %d is not in use or has no sane size", e.ID)
	}
	ino := &inode{format: raw[5], extents: uint64(be.U32(raw, 76)), realtime: be.U16(raw, 90)&flagRealtime != 0}
	core := int64(100)
	var flags2 uint64
	if v.v5 {
		core, flags2 = 176, be.U64(raw, 120)
	}
	if flags2&flag2NRExt64 != 0 {
		ino.extents = be.U64(raw, 24)
	}
	end := v.inodeSize
	if forkOff := int64(raw[82]); forkOff != 0 { // the attribute fork follows
		end = core + 8*forkOff
	}
	if end > v.inodeSize {
		return nil, volume.Corrupt("inode %d: attribute fork outside the inode", e.ID)
	}
	ino.fork = raw[core:end]
	return &volume.Node{ID: e.ID, Mode: volume.UnixMode(mode), Size: int64(size), Time: timeOf(be.U64(raw, 40), flags2), Raw: ino}, nil
}

// timeOf reads a time stamp: seconds and nanoseconds, or with bigtime
// nanoseconds since 1901.
func timeOf(stamp, flags2 uint64) time.Time {
	if flags2&flag2BigTime != 0 {
		return time.Unix(int64(stamp/1e9)-1<<31, int64(stamp%1e9)).UTC()
	}
	return time.Unix(int64(int32(stamp>>32)), int64(uint32(stamp))).UTC()
}

// ReadLink is the target of a symbolic link.
func (v *Volume) ReadLink(n *volume.Node) (string, error) {
	if n.Size > volume.MaxSymlink {
		return "", volume.Corrupt("symbolic link of %d bytes", n.Size)
	}
	ino := n.Raw.(*inode)
	if ino.format == formLocal {
		if n.Size > int64(len(ino.fork)) {
			return "", volume.Corrupt("symbolic link of %d bytes in its inode", n.Size)
		}
		return string(ino.fork[:n.Size]), nil
	}
	runs, err := v.runs(ino)
	if err != nil {
		return "", err
	}
	target := make([]byte, 0, n.Size)
	for _, r := range runs {
		b := make([]byte, min(r.Length, 2*volume.MaxSymlink))
		if _, err := v.dev.ReadAt(b, r.Pos); err != nil {
			return "", err
		}
		if v.v5 { // each piece has a header (xfs_dsymlink_hdr)
			const header = 56
			if be.U32(b, 0) != 0x58534c4d || int64(be.U32(b, 8)) > int64(len(b)-header) {
				return "", volume.Corrupt("symbolic link without its magic number")
			}
			b = b[header : header+int(be.U32(b, 8))]
		}
		target = append(target, b[:min(int64(len(b)), n.Size-int64(len(target)))]...)
	}
	if int64(len(target)) != n.Size {
		return "", volume.Corrupt("symbolic link ends early")
	}
	return string(target), nil
}

// Content maps the body of a file.
func (v *Volume) Content(n *volume.Node) (*volume.Content, error) {
	ino := n.Raw.(*inode)
	if ino.realtime {
		return nil, &volume.UnsupportedError{Kind: "xfs", Reason: "the file is on a realtime device"}
	}
	runs, err := v.runs(ino)
	return &volume.Content{R: v.dev, Size: n.Size, Runs: runs}, err
}

var _ volume.Volume = (*Volume)(nil)
