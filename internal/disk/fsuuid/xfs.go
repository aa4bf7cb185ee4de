package fsuuid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Offsets in a super block, big-endian but for the checksum (struct xfs_dsb,
// fs/xfs/libxfs/xfs_format.h).
const (
	xfsBlockSize = 4
	xfsBlocks    = 8
	xfsUUID      = 32
	xfsLogStart  = 48
	xfsAGBlocks  = 84
	xfsAGCount   = 88
	xfsLogBlocks = 96
	xfsVersion   = 100
	xfsSector    = 102
	xfsShift     = 124 // sb_agblklog
	xfsIncompat  = 216
	xfsSum       = 224
	xfsMetaUUID  = 248
	xfsEnd       = 264
)

// Incompatible features. Those of known keep the UUID nowhere but in super
// blocks and the log, given that metaUUID is set: each metadata block then
// still has the first one.
const (
	metaUUID = 1 << 2
	known    = 0xff &^ (1 << 4) // all up to parent pointers, without "needs repair"
)

// Offsets in the header of a log record, big-endian but for the checksum
// (struct xlog_rec_header, fs/xfs/libxfs/xfs_log_format.h). The log is made of
// blocks of 512 bytes whatever the sector size.
const (
	logBlock   = 512
	logMagic   = 0xfeedbabe
	logVersion = 8
	logLSN     = 16
	logSum     = 32
	logOps     = 40
	logUUID    = 304
	logSize    = 320
)

// maxRecords bounds the edits of one log, which is 2 GiB at most.
const maxRecords = 1 << 20

// unmountOp is the flag of the operation that a clean unmount logs last
// (XLOG_UNMOUNT_TRANS).
const unmountOp = 0x20

// xfs is XFS of version 5, which mkfs.xfs makes since 2015.
type xfs struct {
	device
	super []byte // a sector
}

func openXFS(d device) (format, error) {
	b, err := d.at(0, 512)
	if err != nil {
		return nil, err
	}
	if string(b[:4]) != "XFSB" {
		return nil, errors.New("no XFS is there")
	}
	sector := int(binary.BigEndian.Uint16(b[xfsSector:]))
	if v := binary.BigEndian.Uint16(b[xfsVersion:]) & 0xf; v != 5 {
		return xfs{d, b}, nil
	}
	if sector < 512 || sector > 32<<10 || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("sector size %d", sector)
	}
	x := xfs{device: d}
	if x.super, err = d.at(0, sector); err == nil && xfsChecksum(x.super) != binary.LittleEndian.Uint32(x.super[xfsSum:]) {
		err = errors.New("the checksum of its super block is wrong")
	}
	return x, err
}

func (x xfs) u32(off int) uint32 { return binary.BigEndian.Uint32(x.super[off:]) }
func (x xfs) u64(off int) uint64 { return binary.BigEndian.Uint64(x.super[off:]) }
func (x xfs) uuid() []byte       { return x.super[xfsUUID : xfsUUID+16] }
func (x xfs) id() string         { return Format(x.uuid()) }

// xfsChecksum is CRC-32C over a sector with its checksum taken as zero.
func xfsChecksum(sector []byte) uint32 {
	sum := crc32.Checksum(sector[:xfsSum], castagnoli)
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, sector[xfsSum+4:])
}

func (x xfs) fixed() error {
	switch f := x.u32(xfsIncompat); {
	case binary.BigEndian.Uint16(x.super[xfsVersion:])&0xf != 5:
		return fixed("it is XFS of a version before 5")
	case f&^known != 0:
		return fixed("it has features that gild does not know (%#x)", f&^known)
	case x.u64(xfsLogStart) == 0:
		return fixed("its log is on another device")
	}
	return nil
}

func (x xfs) change(raw []byte) ([]Edit, error) {
	if err := x.fixed(); err != nil {
		return nil, err
	}
	block, blocks, per := int64(x.u32(xfsBlockSize)), x.u64(xfsBlocks), int64(x.u32(xfsAGBlocks))
	groups := int64(x.u32(xfsAGCount))
	if groups > maxCopies {
		return nil, fixed("it has more than %d super blocks", maxCopies)
	}
	if block < 512 || block > 64<<10 || blocks > uint64(x.size/block) || per <= 0 || (groups-1)*per >= int64(blocks) {
		return nil, errOutside
	}
	// The log first: it must be clean, or nothing is changed. The primary super
	// block is the last to go, and says what the UUID was until then.
	edits, err := x.log(raw, block)
	if err != nil {
		return nil, err
	}
	for g := groups - 1; g >= 0; g-- {
		at := g * per * block
		b, err := x.at(at, len(x.super))
		if err != nil {
			return nil, err
		}
		if string(b[:4]) != "XFSB" {
			return nil, fmt.Errorf("allocation group %d has no super block", g)
		}
		if bytes.Equal(b[xfsUUID:xfsUUID+16], raw) {
			continue
		}
		rename(b, raw)
		edits = append(edits, Edit{at, b})
	}
	return edits, nil
}

// rename gives a super block another UUID. The first one stays, for it is in
// every other block.
func rename(b, raw []byte) {
	f := binary.BigEndian.Uint32(b[xfsIncompat:])
	if f&metaUUID == 0 {
		binary.BigEndian.PutUint32(b[xfsIncompat:], f|metaUUID)
		copy(b[xfsMetaUUID:xfsEnd], b[xfsUUID:xfsUUID+16])
	}
	copy(b[xfsUUID:], raw)
	binary.LittleEndian.PutUint32(b[xfsSum:], xfsChecksum(b))
}

// log plans the UUID of every record in the log: the kernel mounts no file
// system whose last records are of another (xlog_header_check_mount). Their
// checksum is taken away, which it counts as right (xlog_recover_process), as
// mkfs.xfs makes none.
func (x xfs) log(raw []byte, block int64) ([]Edit, error) {
	start := x.u64(xfsLogStart)
	per, shift := uint64(x.u32(xfsAGBlocks)), x.super[xfsShift]
	if shift > 31 {
		return nil, errOutside
	}
	// A block number has the group in its high bits (XFS_FSB_TO_DADDR).
	group, in := start>>shift, start&(1<<shift-1)
	if group >= uint64(x.u32(xfsAGCount)) || in >= per {
		return nil, errOutside
	}
	first := int64(group*per+in) * block
	length := int64(x.u32(xfsLogBlocks)) * block
	var edits []Edit
	var last []byte // header of the newest record
	var lastAt int64
	const step = 1 << 20
	none := make([]byte, 4)
	for at := int64(0); at < length; at += step {
		b, err := x.at(first+at, int(min(step, length-at)))
		if err != nil {
			return nil, err
		}
		for i := 0; i+logBlock <= len(b); i += logBlock {
			h := b[i : i+logBlock]
			// The first four bytes of every other block are a cycle number, which
			// is never this.
			if binary.BigEndian.Uint32(h) != logMagic {
				continue
			}
			if last == nil || bytes.Compare(h[logLSN:logLSN+8], last[logLSN:logLSN+8]) > 0 {
				last, lastAt = bytes.Clone(h), first+at+int64(i)
			}
			if bytes.Equal(h[logUUID:logUUID+16], x.uuid()) && !bytes.Equal(raw, x.uuid()) {
				place := first + at + int64(i)
				edits = append(edits, Edit{place + logSum, none}, Edit{place + logUUID, raw})
			}
			if len(edits) > maxRecords {
				return nil, fixed("its log has more records than gild goes through")
			}
		}
	}
	return edits, x.clean(last, lastAt)
}

// clean checks that the newest record of the log is that of an unmount, as
// xlog_check_unmount_rec does: nothing is left to recover.
func (x xfs) clean(h []byte, at int64) error {
	const dirty = "its log was not recovered"
	if h == nil || binary.BigEndian.Uint32(h[logOps:]) != 1 {
		return fixed(dirty)
	}
	headers := int64(1)
	if size := int64(binary.BigEndian.Uint32(h[logSize:])); binary.BigEndian.Uint32(h[logVersion:])&2 != 0 && size > 32<<10 {
		headers = (size + 32<<10 - 1) / (32 << 10)
	}
	op, err := x.at(at+headers*logBlock, 12)
	if err != nil {
		return err
	}
	if op[9]&unmountOp == 0 {
		return fixed(dirty)
	}
	return nil
}
