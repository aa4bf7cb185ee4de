package virtual

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/gild-dev/gild/internal/golden/le"
)

// VHDXMagic begins a VHDX file ([MS-VHDX] 2.2.1).
const VHDXMagic = "vhdxfile"

// Places and identifiers of [MS-VHDX], section 2. GUIDs are as they stand in
// the file.
const (
	vhdxHeaderSize = 4 << 10
	vhdxRegionSize = 64 << 10

	vhdxBAT  = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
	vhdxMeta = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"

	vhdxParams = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	vhdxSize   = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	vhdxSector = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f"

	vhdxPresent = 6
)

// vhdx finds payload blocks.
type vhdx struct {
	bat   table
	chunk int64 // payload blocks between two entries of sector bitmaps
}

// OpenVHDX opens a fixed or dynamic VHDX whose log is empty.
func OpenVHDX(r io.ReaderAt, fileSize int64) (*Image, error) {
	m, err := openVHDX(r, fileSize)
	if err != nil {
		return nil, fmt.Errorf("vhdx image: %w", err)
	}
	return m, nil
}

func openVHDX(r io.ReaderAt, fileSize int64) (*Image, error) {
	if err := checkLog(r, fileSize); err != nil {
		return nil, err
	}
	regions, err := vhdxRegions(r, fileSize)
	if err != nil {
		return nil, err
	}
	bat, meta := regions[vhdxBAT], regions[vhdxMeta]
	if bat.n == 0 || meta.n == 0 {
		return nil, errors.New("it has no table of blocks, or no metadata")
	}
	items, err := vhdxItems(r, fileSize, meta)
	if err != nil {
		return nil, err
	}
	params, size, logical := items[vhdxParams], items[vhdxSize], items[vhdxSector]
	if len(params) < 8 || len(size) < 8 || len(logical) < 4 {
		return nil, errors.New("its metadata lack the size of the disk or of its blocks")
	}
	block, bytes, sectorSize := int64(le.U32(params, 0)), le.U64(size, 0), int64(le.U32(logical, 0))
	if le.U32(params, 4)&2 != 0 {
		return nil, errors.New("it holds the changes to another disk only: merge them first, or " + hint)
	}
	if block < 1<<20 || block > 256<<20 || block&(block-1) != 0 || bytes > maxSize || sectorSize != 512 && sectorSize != 4096 {
		return nil, fmt.Errorf("a disk of %d bytes in blocks of %d and sectors of %d", bytes, block, sectorSize)
	}
	v := &vhdx{bat: table{r: r, fileSize: fileSize, at: bat.at, bytes: bat.n}, chunk: (1 << 23) * sectorSize / block}
	return newImage(r, fileSize, int64(bytes), block, v)
}

func (v *vhdx) find(i int64) (piece, error) {
	b, err := v.bat.entry((i+i/v.chunk)*8, 8)
	if err != nil {
		return piece{}, err
	}
	e := le.U64(b, 0)
	switch state := e & 7; state {
	case vhdxPresent:
		return piece{at: int64(e >> 20 << 20 & (1<<63 - 1))}, nil
	case 0, 1, 2, 3: // not present, undefined, zero, unmapped
		return piece{zero: true}, nil
	default:
		return piece{}, fmt.Errorf("in state %d", state)
	}
}

var crc32c = crc32.MakeTable(crc32.Castagnoli)

// vhdxSum reports whether the checksum at byte 4 is right, itself taken as
// zero.
func vhdxSum(b []byte) bool {
	sum := crc32.Update(0, crc32c, b[:4])
	sum = crc32.Update(sum, crc32c, make([]byte, 4))
	return crc32.Update(sum, crc32c, b[8:]) == le.U32(b, 4)
}

// checkLog finds the current one of the two headers and refuses a file whose
// log has to be replayed.
func checkLog(r io.ReaderAt, fileSize int64) error {
	var current []byte
	for _, at := range []int64{64 << 10, 128 << 10} {
		h := make([]byte, vhdxHeaderSize)
		if err := readFull(r, fileSize, h, at); err != nil {
			return err
		}
		if string(h[:4]) == "head" && vhdxSum(h) && (current == nil || le.U64(h, 8) > le.U64(current, 8)) {
			current = h
		}
	}
	switch {
	case current == nil:
		return errors.New("both of its headers are damaged")
	case !bytes.Equal(current[48:64], make([]byte, 16)):
		return errors.New("its log was not replayed, as after a crash: open it once in the program that wrote it, or " + hint)
	}
	return nil
}

// span is a range of the file.
type span struct{ at, n int64 }

// vhdxRegions reads one of the two region tables.
func vhdxRegions(r io.ReaderAt, fileSize int64) (map[string]span, error) {
	b := make([]byte, vhdxRegionSize)
	for _, at := range []int64{192 << 10, 256 << 10} {
		if err := readFull(r, fileSize, b, at); err != nil {
			return nil, err
		}
		if string(b[:4]) != "regi" || !vhdxSum(b) {
			continue
		}
		count := le.U32(b, 8)
		if count > 2047 {
			return nil, fmt.Errorf("%d regions", count)
		}
		found := map[string]span{}
		for e := b[16 : 16+32*count]; len(e) > 0; e = e[32:] {
			s := span{int64(le.U64(e, 16)), int64(le.U32(e, 24))}
			switch id := string(e[:16]); {
			case s.at < 1<<20 || s.at > fileSize-s.n:
				return nil, fmt.Errorf("a region of %d bytes at %d: %w", s.n, s.at, errCut)
			case id == vhdxBAT || id == vhdxMeta:
				found[id] = s
			case le.U32(e, 28)&1 != 0:
				return nil, errors.New("it needs something that is not known: " + hint)
			}
		}
		return found, nil
	}
	return nil, errors.New("both of its region tables are damaged")
}

// vhdxItems reads the metadata.
func vhdxItems(r io.ReaderAt, fileSize int64, meta span) (map[string][]byte, error) {
	b := make([]byte, 64<<10)
	if err := readFull(r, fileSize, b, meta.at); err != nil {
		return nil, err
	}
	count := le.U16(b, 10)
	if string(b[:8]) != "metadata" || count > 2047 {
		return nil, errors.New("its metadata are damaged")
	}
	items := map[string][]byte{}
	for e := b[32 : 32+32*int(count)]; len(e) > 0; e = e[32:] {
		id := string(e[:16])
		if id != vhdxParams && id != vhdxSize && id != vhdxSector {
			continue
		}
		off, n := int64(le.U32(e, 16)), int64(le.U32(e, 20))
		if n > 64 || off < 64<<10 || off > meta.n-n {
			return nil, fmt.Errorf("an item of %d bytes at %d of its metadata", n, off)
		}
		items[id] = make([]byte, n)
		if err := readFull(r, fileSize, items[id], meta.at+off); err != nil {
			return nil, err
		}
	}
	return items, nil
}
