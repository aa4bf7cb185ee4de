package fsread

import (
	"encoding/binary"
	"time"
)

// Feature bits of XFS, as in the kernel's fs/xfs/libxfs/xfs_format.h.
const (
	xfsVersionBits = 0xf
	xfsVersionDir2 = 0x2000

	xfsFeatures2FType = 0x200

	xfsIncompatFType       = 0x1
	xfsIncompatNeedsRepair = 0x10
	// What this reader understands or may ignore: ftype, sparse inodes 0x2, meta_uuid 0x4, bigtime 0x8, needsrepair,
	// large extent counters 0x20, exchange-range 0x40, parent pointers 0x80.
	xfsIncompatKnown = 0xff

	xfsFlagRealtime = 0x1 // di_flags
	xfsFlag2BigTime = 0x8 // di_flags2
	xfsFlag2NRExt64 = 0x10
)

// Forms of an inode's data fork (di_format).
const (
	xfsFormLocal   = 1
	xfsFormExtents = 2
	xfsFormBtree   = 3
)

// xfsVolume reads XFS, versions 4 and 5.
type xfsVolume struct {
	dev       *pageCache
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

// xfsInode is what a node needs later.
type xfsInode struct {
	format   byte
	realtime bool
	extents  uint64
	fork     []byte
}

func openXFS(dev *pageCache) (*xfsVolume, error) {
	sb := make([]byte, 512)
	if _, err := dev.ReadAt(sb, 0); err != nil {
		return nil, err
	}
	version := be16(sb, 100)
	v := &xfsVolume{
		dev:       dev,
		v5:        version&xfsVersionBits == 5,
		block:     int64(be32(sb, 4)),
		agBlocks:  int64(be32(sb, 84)),
		agCount:   int64(be32(sb, 88)),
		agLog:     uint(sb[124]),
		inodeSize: int64(be16(sb, 104)),
		inopLog:   uint(sb[123]),
		rootInode: be64(sb, 56),
	}
	if !v.v5 && (version&xfsVersionBits != 4 || version&xfsVersionDir2 == 0) {
		return nil, &UnsupportedError{Kind: "xfs", Reason: "format older than version 4"}
	}
	v.ftype = be32(sb, 200)&xfsFeatures2FType != 0
	copy(v.uuid[:], sb[32:48])
	if v.v5 {
		incompat := be32(sb, 216)
		if unknown := incompat &^ xfsIncompatKnown; unknown != 0 {
			return nil, &UnsupportedError{Kind: "xfs", Reason: featureBits(unknown)}
		}
		v.ftype = incompat&xfsIncompatFType != 0
		v.unclean = incompat&xfsIncompatNeedsRepair != 0
		if incompat&0x4 != 0 {
			copy(v.uuid[:], sb[248:264])
		}
	}
	if sb[126] != 0 {
		return nil, corrupt("mkfs did not finish")
	}
	return v, v.check(sb)
}

// check holds the superblock against itself and the device, so that no later product overflows.
func (v *xfsVolume) check(sb []byte) error {
	blocks, blockLog, dirLog := be64(sb, 8), sb[120], sb[192]
	switch {
	case blockLog < 9 || blockLog > 16 || v.block != 1<<blockLog:
		return corrupt("block size %d", v.block)
	case blocks == 0 || blocks > uint64(v.dev.size/v.block):
		return corrupt("%d blocks of %d bytes on a partition of %d bytes: image cut short?", blocks, v.block, v.dev.size)
	case v.agLog > 32 || v.agBlocks <= 0 || v.agBlocks > 1<<v.agLog || v.agCount <= 0:
		return corrupt("%d groups of %d blocks", v.agCount, v.agBlocks)
	case v.inodeSize < 256 || v.inodeSize > 2048 || v.inodeSize&(v.inodeSize-1) != 0 || v.inodeSize<<v.inopLog != v.block:
		return corrupt("inode size %d", v.inodeSize)
	case dirLog > 7 || v.block<<dirLog > 1<<16:
		return corrupt("directory block size 2^%d blocks", dirLog)
	}
	v.dirBlock = v.block << dirLog
	if start := be64(sb, 48); start != 0 { // 0: the log is on a device of its own
		var err error
		if v.logStart, err = v.offset(start); err != nil {
			return err
		}
		v.logBytes = int64(be32(sb, 96)) * v.block
	}
	return nil
}

// offset translates a block number, whose high bits are the group, to bytes on the device.
func (v *xfsVolume) offset(block uint64) (int64, error) {
	group, in := block>>v.agLog, int64(block&(1<<v.agLog-1))
	if group >= uint64(v.agCount) || in >= v.agBlocks {
		return 0, corrupt("block %#x is in no allocation group", block)
	}
	// Both are below 2^32, so only the last product can leave the device; compare before it.
	at := int64(group)*v.agBlocks + in
	if at >= v.dev.size/v.block {
		return 0, corrupt("block %#x is outside the device", block)
	}
	return at * v.block, nil
}

func (v *xfsVolume) root() (*node, error) {
	n, err := v.load(dirent{id: v.rootInode})
	if err == nil && !n.mode.IsDir() {
		err = corrupt("inode %d is not a directory", v.rootInode)
	}
	return n, err
}

func (v *xfsVolume) foldsCase() bool { return false }

func (v *xfsVolume) load(e dirent) (*node, error) {
	at, err := v.offset(e.id >> v.inopLog)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, v.inodeSize)
	if _, err := v.dev.ReadAt(raw, at+int64(e.id&(1<<v.inopLog-1))*v.inodeSize); err != nil {
		return nil, err
	}
	version := raw[4]
	if be16(raw, 0) != 0x494e || version == 0 || version > 3 || (version == 3) != v.v5 {
		return nil, corrupt("inode %d without its magic number", e.id)
	}
	if v.v5 && be64(raw, 152) != e.id {
		return nil, corrupt("inode %d says it is %d", e.id, be64(raw, 152))
	}
	mode, size := be16(raw, 2), be64(raw, 56)
	if mode == 0 || size > 1<<62 {
		return nil, corrupt("inode %d is not in use or has no sane size", e.id)
	}
	ino := &xfsInode{format: raw[5], extents: uint64(be32(raw, 76)), realtime: be16(raw, 90)&xfsFlagRealtime != 0}
	core := int64(100)
	var flags2 uint64
	if v.v5 {
		core, flags2 = 176, be64(raw, 120)
	}
	if flags2&xfsFlag2NRExt64 != 0 {
		ino.extents = be64(raw, 24)
	}
	end := v.inodeSize
	if forkOff := int64(raw[82]); forkOff != 0 { // the attribute fork follows
		end = core + 8*forkOff
	}
	if end > v.inodeSize {
		return nil, corrupt("inode %d: attribute fork outside the inode", e.id)
	}
	ino.fork = raw[core:end]
	return &node{id: e.id, mode: modeFromUnix(mode), size: int64(size), time: xfsTime(be64(raw, 40), flags2), raw: ino}, nil
}

// xfsTime reads a time stamp: seconds and nanoseconds, or with bigtime nanoseconds since 1901.
func xfsTime(stamp, flags2 uint64) time.Time {
	if flags2&xfsFlag2BigTime != 0 {
		return time.Unix(int64(stamp/1e9)-1<<31, int64(stamp%1e9)).UTC()
	}
	return time.Unix(int64(int32(stamp>>32)), int64(uint32(stamp))).UTC()
}

func (v *xfsVolume) readlink(n *node) (string, error) {
	if n.size > maxSymlink {
		return "", corrupt("symbolic link of %d bytes", n.size)
	}
	ino := n.raw.(*xfsInode)
	if ino.format == xfsFormLocal {
		if n.size > int64(len(ino.fork)) {
			return "", corrupt("symbolic link of %d bytes in its inode", n.size)
		}
		return string(ino.fork[:n.size]), nil
	}
	runs, err := v.runs(ino)
	if err != nil {
		return "", err
	}
	target := make([]byte, 0, n.size)
	for _, r := range runs {
		b := make([]byte, min(r.length, 2*maxSymlink))
		if _, err := v.dev.ReadAt(b, r.pos); err != nil {
			return "", err
		}
		if v.v5 { // each piece has a header (xfs_dsymlink_hdr)
			const header = 56
			if be32(b, 0) != 0x58534c4d || int64(be32(b, 8)) > int64(len(b)-header) {
				return "", corrupt("symbolic link without its magic number")
			}
			b = b[header : header+int(be32(b, 8))]
		}
		target = append(target, b[:min(int64(len(b)), n.size-int64(len(target)))]...)
	}
	if int64(len(target)) != n.size {
		return "", corrupt("symbolic link ends early")
	}
	return string(target), nil
}

func (v *xfsVolume) content(n *node) (*content, error) {
	ino := n.raw.(*xfsInode)
	if ino.realtime {
		return nil, &UnsupportedError{Kind: "xfs", Reason: "the file is on a realtime device"}
	}
	runs, err := v.runs(ino)
	return &content{r: v.dev, size: n.size, runs: runs}, err
}

var _ volume = (*xfsVolume)(nil)

func be16(b []byte, off int) uint16 { return binary.BigEndian.Uint16(b[off:]) }
func be32(b []byte, off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
func be64(b []byte, off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
