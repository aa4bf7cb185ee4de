package virtual

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// sparse is a file of some bytes with nothing between them.
type sparse struct {
	size   int64
	pieces []placed
}

type placed struct {
	at int64
	b  []byte
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	clear(p[:n])
	for _, x := range s.pieces {
		if from, to := max(off, x.at), min(off+int64(n), x.at+int64(len(x.b))); from < to {
			copy(p[from-off:to-off], x.b[from-x.at:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// over is the fuzzer's bytes over those of a sound structure, so that it need
// not invent all of it.
func over(sound, edits []byte) []byte {
	b := append([]byte(nil), sound...)
	for ; len(edits) >= 3; edits = edits[3:] {
		b[(int(edits[0])<<8|int(edits[1]))%len(b)] = edits[2]
	}
	return b
}

// visit reads a little of a disk everywhere. Whatever the bytes, it has bounds,
// and its blocks are bytes or an error.
func visit(t *testing.T, m *Image, err error) {
	t.Helper()
	if err != nil {
		return
	}
	if m.Size() <= 0 || m.Size() > maxSize || m.Size()%sector != 0 || m.block > 256<<20 {
		t.Fatalf("a disk of %d bytes in blocks of %d", m.Size(), m.block)
	}
	var buf [1024]byte
	for _, off := range []int64{0, m.block - sector, m.Size() / 2 / sector * sector, m.Size() - sector} {
		off = max(0, off)
		// The large block that a packed piece would need is no matter of the format.
		if where, err := m.blocks.find(off / m.block); err == nil && where.unpack != nil && m.block > 64<<10 {
			continue
		}
		n, err := m.ReadAt(buf[:], off)
		if n < 0 || n > len(buf) || n < len(buf) && err == nil {
			t.Fatalf("ReadAt(%d) = %d, %v", off, n, err)
		}
		zero, zeroErr := m.IsZero(off, int64(n))
		if zeroErr != nil && zero || zero && err == nil && strings.Trim(string(buf[:n]), "\x00") != "" {
			t.Fatalf("IsZero(%d) = true, %v", off, zeroErr)
		}
	}
}

// maxFuzzed bounds what a fuzzer makes longer and longer.
const maxFuzzed = 4 << 10

func FuzzVMDK(f *testing.F) {
	le := binary.LittleEndian
	head := make([]byte, 6*sector)
	copy(head, VMDKMagic)
	le.PutUint32(head[4:], 1)
	le.PutUint32(head[vmdkFlags:], 3)
	le.PutUint64(head[vmdkCapacity:], 2048)
	le.PutUint64(head[vmdkGrain:], 16)
	le.PutUint64(head[vmdkDesc:], 1)
	le.PutUint64(head[vmdkDescSize:], 1)
	le.PutUint32(head[vmdkEntries:], 512)
	le.PutUint64(head[vmdkGD:], 2)
	copy(head[vmdkChars:], "\n \r\n")
	copy(head[sector:], "# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 2048 SPARSE \"a.vmdk\"\n")
	le.PutUint32(head[2*sector:], 3)
	le.PutUint32(head[3*sector:], 8)
	f.Add([]byte{}, []byte("data"))
	f.Add([]byte{0, vmdkFlags + 2, 3, 0, vmdkCompress, 1},
		[]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00x\x9c\x03\x00\x00\x00\x00\x01"))
	f.Add([]byte{0, vmdkGD, 0xff, 2, 10, '\n'}, []byte{1})
	f.Fuzz(func(t *testing.T, edits, grain []byte) {
		if len(edits)+len(grain) > maxFuzzed {
			return
		}
		s := sparse{64 << 10, []placed{{0, over(head, edits)}, {8 * sector, grain}}}
		m, err := OpenVMDK(s, s.size)
		visit(t, m, err)
	})
}

// FuzzVMDKSet reads descriptors whose files are all of one kind.
func FuzzVMDKSet(f *testing.F) {
	f.Add("# Disk DescriptorFile\nparentCID=ffffffff\nRW 8 FLAT \"a\" 1\nRW 2 ZERO\nRDONLY 4 SPARSE \"b\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxFuzzed {
			return
		}
		s, err := OpenVMDKSet([]byte(text), func(string) (io.ReaderAt, int64, error) { return sparse{size: 1 << 20}, 1 << 20, nil })
		if err != nil {
			return
		}
		var buf [2048]byte
		for _, off := range []int64{0, s.Size() / 2, s.Size() - 512} {
			n, err := s.ReadAt(buf[:], off)
			if n < len(buf) && err == nil || err != nil && int64(n) != s.Size()-off {
				t.Fatalf("ReadAt(%d) of %d = %d, %v", off, s.Size(), n, err)
			}
			if _, err := s.IsZero(off, 2048); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzVHD(f *testing.F) {
	be := binary.BigEndian
	foot, head := make([]byte, sector), make([]byte, 1024)
	copy(foot, VHDMagic)
	be.PutUint64(foot[vhdDataAt:], sector)
	be.PutUint64(foot[vhdSize:], 4<<20)
	be.PutUint32(foot[vhdType:], vhdDynamic)
	copy(head, "cxsparse")
	be.PutUint64(head[vhdTableAt:], 3*sector)
	be.PutUint32(head[vhdEntries:], 2)
	be.PutUint32(head[vhdBlock:], 2<<20)
	f.Add([]byte{}, []byte{}, []byte{0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, vhdType + 3, vhdFixed}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, footEdits, headEdits, bat []byte) {
		if len(footEdits)+len(headEdits)+len(bat) > maxFuzzed {
			return
		}
		foot, head := over(foot, footEdits), over(head, headEdits)
		for b, at := range map[*[]byte]int{&foot: vhdChecksum, &head: vhdSum} {
			be.PutUint32((*b)[at:], vhdSumOf(*b, at))
		}
		s := sparse{8 << 20, []placed{{sector, head}, {3 * sector, bat}, {8<<20 - sector, foot}}}
		m, err := OpenVHD(s, s.size)
		visit(t, m, err)
	})
}

func vhdSumOf(b []byte, off int) uint32 {
	sum := uint32(0)
	for i, c := range b {
		if i < off || i >= off+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

func FuzzVDI(f *testing.F) {
	le := binary.LittleEndian
	head := make([]byte, 2*sector)
	copy(head[VDIMagicAt:], VDIMagic)
	le.PutUint32(head[vdiVersion:], 0x10001)
	le.PutUint32(head[vdiType:], vdiDynamic)
	le.PutUint32(head[vdiMapAt:], sector)
	le.PutUint32(head[vdiDataAt:], 2*sector)
	le.PutUint32(head[vdiSector:], sector)
	le.PutUint64(head[vdiSize:], 4<<20)
	le.PutUint32(head[vdiBlock:], 1<<20)
	le.PutUint32(head[vdiBlocks:], 4)
	le.PutUint32(head[sector+4:], vdiNone)
	f.Add([]byte{})
	f.Add([]byte{1, 0x7c, 1, 2, 0, 0xfe})
	f.Fuzz(func(t *testing.T, edits []byte) {
		if len(edits) > maxFuzzed {
			return
		}
		s := sparse{3 << 20, []placed{{0, over(head, edits)}, {1 << 20, []byte("data")}}}
		m, err := OpenVDI(s, s.size)
		visit(t, m, err)
	})
}

func FuzzVHDX(f *testing.F) {
	le := binary.LittleEndian
	head, regions, meta := make([]byte, vhdxHeaderSize), make([]byte, 128), make([]byte, 256)
	copy(head, "head")
	copy(regions, "regi")
	regions[8] = 2
	for i, id := range []string{vhdxBAT, vhdxMeta} {
		e := regions[16+32*i:]
		copy(e, id)
		le.PutUint64(e[16:], uint64(1+i)<<20)
		le.PutUint32(e[24:], 1<<20)
	}
	copy(meta, "metadata")
	meta[10] = 3
	items := make([]byte, 24)
	le.PutUint32(items, 1<<20)
	le.PutUint64(items[8:], 4<<20)
	le.PutUint32(items[16:], 512)
	for i, id := range []string{vhdxParams, vhdxSize, vhdxSector} {
		e := meta[32+32*i:]
		copy(e, id)
		le.PutUint32(e[16:], uint32(64<<10+8*i))
		le.PutUint32(e[20:], 8)
	}
	f.Add([]byte{}, []byte{}, []byte{}, items, []byte{6, 0, 0x30, 0, 0, 0, 0, 0, 2})
	f.Add([]byte{0, 48, 1}, []byte{0, 8, 3}, []byte{0, 10, 9}, items, []byte{7})
	whole := make([]byte, vhdxRegionSize)
	// The checksum of a region table, whose end is always zeros, goes over all of
	// its 64 KiB.
	f.Fuzz(func(t *testing.T, headEdits, regionEdits, metaEdits, items, bat []byte) {
		if len(headEdits)+len(regionEdits)+len(metaEdits)+len(items)+len(bat) > maxFuzzed {
			return
		}
		head := over(head, headEdits)
		le.PutUint32(head[4:], 0)
		le.PutUint32(head[4:], crc32.Checksum(head, crc32c))
		clear(whole)
		copy(whole, over(regions, regionEdits))
		le.PutUint32(whole[4:], 0)
		le.PutUint32(whole[4:], crc32.Checksum(whole, crc32c))
		s := sparse{8 << 20, []placed{
			{64 << 10, head},
			{192 << 10, whole},
			{1 << 20, bat},
			{2 << 20, over(meta, metaEdits)},
			{2<<20 + 64<<10, items},
		}}
		m, err := OpenVHDX(s, s.size)
		visit(t, m, err)
	})
}
