package probe

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"

	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/ext"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// Length tells how many bytes from the beginning of r belong to what is there,
// by its superblock: a partition may be larger. It is false for what does not
// say it, for a sum that no partition can have, and where more than one format
// claims the partition. Only the first 64 KiB of r are read.
func Length(r io.ReaderAt, size int64) (int64, bool) {
	sig, err := Find(r, size)
	if err != nil || len(sig.Rivals) > 0 {
		return 0, false
	}
	b := make([]byte, min(size, probeHead))
	if _, err := volume.ReadFull(r, b, 0); err != nil {
		return 0, false
	}
	var count, unit uint64
	switch {
	case len(b) < 2048:
	case sig.Kind == "ext2", sig.Kind == "ext3", sig.Kind == "ext4":
		sb := b[1024:]
		count, unit = uint64(le.U32(sb, 4)), 1024<<min(le.U32(sb, 0x18), 32)
		if le.U32(sb, 0x4c) > 0 && le.U32(sb, 0x60)&ext.Incompat64Bit != 0 {
			count |= uint64(le.U32(sb, 0x150)) << 32
		}
	case sig.Kind == "xfs":
		count, unit = be.U64(b, 8), uint64(be.U32(b, 4))
	case sig.Kind == "vfat":
		if count = uint64(le.U16(b, 19)); count == 0 {
			count = uint64(le.U32(b, 32))
		}
		unit = uint64(le.U16(b, 11))
	case sig.Kind == "squashfs":
		count, unit = binary.LittleEndian.Uint64(b[40:]), 1
	case sig.Kind == "iso9660" && len(b) >= 16*2048+88:
		count, unit = uint64(le.U32(b, 16*2048+80)), 2048
	case sig.Kind == "swap":
		return 64 << 10, true // what it holds outlives no boot; the largest page has the header
	}
	high, length := bits.Mul64(count, unit)
	if high != 0 || length == 0 || length > math.MaxInt64 {
		return 0, false
	}
	return int64(length), true
}
