package fsuuid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
)

// Offsets in a super block, little-endian
// (Documentation/filesystems/ext4/super.rst).
const (
	extSize        = 1024
	extBlocks      = 0x4
	extFirstBlock  = 0x14
	extBlockSize   = 0x18
	extPerGroup    = 0x20
	extMagic       = 0x38
	extGroup       = 0x5a
	extCompat      = 0x5c
	extIncompat    = 0x60
	extROCompat    = 0x64
	extUUID        = 0x68
	extJournalNode = 0xe0
	extBlocksHigh  = 0x150
	extBackups     = 0x24c
	extSeed        = 0x270
	extChecksum    = 0x3fc
)

// Features.
const (
	compatJournal     = 0x4
	compatSparse2     = 0x200
	compatStable      = 0x800 // inode numbers and UUID are part of keys
	incompatRecover   = 0x4
	incompatJournal   = 0x8
	incompat64        = 0x80
	incompatSeed      = 0x2000
	roCompatSparse    = 0x1
	roCompatGroupSums = 0x10
	roCompatChecksums = 0x400
)

// maxGroups bounds the work for one file system: 512 TiB of ext4.
const maxGroups = 1 << 22

// maxCopies bounds the super blocks of one file system. Groups of XFS are as
// large as mkfs made them, however far it grew since.
const maxCopies = 1 << 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ext is ext2, ext3 or ext4.
type ext struct {
	device
	super []byte
}

func openExt(d device) (format, error) {
	b, err := d.at(1024, extSize)
	if err != nil {
		return nil, err
	}
	e := ext{d, b}
	if binary.LittleEndian.Uint16(b[extMagic:]) != 0xef53 {
		return nil, errors.New("no ext2, ext3 or ext4 is there")
	}
	if e.has(extROCompat, roCompatChecksums) && extSum(b) != e.u32(extChecksum) {
		return nil, errors.New("the checksum of its super block is wrong")
	}
	return e, nil
}

func (e ext) u32(off int) uint32                 { return binary.LittleEndian.Uint32(e.super[off:]) }
func (e ext) has(field int, feature uint32) bool { return e.u32(field)&feature != 0 }
func (e ext) id() string                         { return Format(e.super[extUUID : extUUID+16]) }

// extSum is the checksum of a super block: CRC-32C without the final inversion.
func extSum(b []byte) uint32 { return ^crc32.Checksum(b[:extChecksum], castagnoli) }

// fixed says why the UUID must stay. The kernel's own way to change it
// (EXT4_IOC_SETFSUUID, fs/ext4/ioctl.c) refuses for the same reasons.
func (e ext) fixed() error {
	switch {
	case e.has(extIncompat, incompatSeed):
	case e.has(extROCompat, roCompatChecksums):
		return fixed("every checksum in it is made with it; 'tune2fs -O metadata_csum_seed' on the golden image separates the two, if " +
			"its boot loader can read that (GRUB 2.12 and the one of Debian 12 can)")
	case e.has(extROCompat, roCompatGroupSums):
		return fixed("its group checksums are made with it (uninit_bg)")
	}
	switch {
	case e.has(extCompat, compatStable):
		return fixed("keys of encrypted files are made with it (stable_inodes)")
	case e.has(extIncompat, incompatJournal), e.has(extCompat, compatJournal) && e.u32(extJournalNode) == 0:
		return fixed("its journal is on another device")
	case e.has(extIncompat, incompatRecover):
		return fixed("its journal was not recovered")
	}
	return nil
}

func (e ext) change(raw []byte) ([]Edit, error) {
	if err := e.fixed(); err != nil {
		return nil, err
	}
	places, err := e.backups()
	if err != nil {
		return nil, err
	}
	var edits []Edit
	for _, group := range slices.Backward(slices.Sorted(maps.Keys(places))) {
		at := places[group]
		b, err := e.at(at, extSize)
		if err != nil {
			return nil, err
		}
		super := ext{e.device, b}
		if binary.LittleEndian.Uint16(b[extMagic:]) != 0xef53 || int(binary.LittleEndian.Uint16(b[extGroup:])) != group&0xffff ||
			bytes.Equal(b[extUUID:extUUID+16], raw) {
			continue // no copy, or done
		}
		copy(b[extUUID:], raw)
		if e.has(extIncompat, incompatSeed) {
			// tune2fs gives the seed to the first alone while it is mounted.
			binary.LittleEndian.PutUint32(b[extIncompat:], super.u32(extIncompat)|incompatSeed)
			copy(b[extSeed:extSeed+4], e.super[extSeed:])
		}
		if super.has(extROCompat, roCompatChecksums) {
			binary.LittleEndian.PutUint32(b[extChecksum:], extSum(b))
		}
		edits = append(edits, Edit{at, b})
	}
	return edits, nil
}

// backups gives where the super block and its copies are, by group.
func (e ext) backups() (map[int]int64, error) {
	if e.u32(extBlockSize) > 6 {
		return nil, fmt.Errorf("block size 2^%d KiB", e.u32(extBlockSize))
	}
	block := int64(1024) << e.u32(extBlockSize)
	blocks, per, first := int64(e.u32(extBlocks)), int64(e.u32(extPerGroup)), int64(e.u32(extFirstBlock))
	if e.has(extIncompat, incompat64) {
		blocks |= int64(e.u32(extBlocksHigh)) << 32
	}
	if per == 0 || per > math.MaxInt32 || blocks < 0 || blocks > e.size/block || first > 1 {
		return nil, errOutside
	}
	places := map[int]int64{0: 1024}
	groups := (blocks - first + per - 1) / per
	if groups > maxGroups {
		return nil, fixed("it has more groups than gild goes through, %d", groups)
	}
	for g := int64(1); g < groups; g++ {
		switch {
		case e.has(extCompat, compatSparse2):
			if n := uint32(g); n != e.u32(extBackups) && n != e.u32(extBackups+4) {
				continue
			}
		case e.has(extROCompat, roCompatSparse) && !power(g, 3) && !power(g, 5) && !power(g, 7):
			continue
		}
		if len(places) == maxCopies {
			return nil, fixed("it has more than %d super blocks", maxCopies)
		}
		places[int(g)] = (first + g*per) * block
	}
	return places, nil
}

// power reports whether n is a power of base, 1 included.
func power(n, base int64) bool {
	for n%base == 0 {
		n /= base
	}
	return n == 1
}
