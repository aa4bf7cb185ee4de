package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Magic is what every qcow2 file begins with: "QFI" and 0xfb.
const Magic = "QFI\xfb"

// HeaderSize is how many bytes [CheckHeader] looks at, at most. They end
// after the compression type of version 3.
const HeaderSize = 112

const (
	sectorSize = 512

	headerSizeV2 = 72
	headerSizeV3 = 104

	minClusterBits = 9
	maxClusterBits = 21

	// maxL1Bytes is QEMU's own limit (QCOW_MAX_L1_SIZE). A table of this size
	// spans 2 EiB with the largest clusters, 128 GiB with the smallest.
	maxL1Bytes = 32 << 20

	// maxBackingName is the longest backing file name that the format allows.
	maxBackingName = 1023
)

// Incompatible feature bits of version 3: a reader that does not know one of
// them must not read the image.
const (
	featureDirty = 1 << iota
	featureCorrupt
	featureDataFile
	featureCompression
	featureExtendedL2
)

// compression is the type of every compressed cluster in an image.
type compression uint8

const (
	zlib compression = iota // a raw deflate stream, despite its name
	zstandard
)

// header is what reading needs of the file's header. Field names follow
// QEMU's docs/interop/qcow2.txt.
type header struct {
	version     uint32
	clusterBits uint32
	size        int64 // of the disk, in bytes
	l1Size      uint32
	l1Offset    uint64
	compression compression
}

// CheckHeader reports why the image that begins with b cannot be read, so that
// a stream can be refused before it is stored anywhere. b is the first
// [HeaderSize] bytes, or more; fewer only when the file is shorter.
func CheckHeader(b []byte) error {
	_, err := parseHeader(b)
	return err
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerSizeV2 {
		return header{}, fmt.Errorf("truncated header: %d bytes; want at least %d", len(b), headerSizeV2)
	}
	be := binary.BigEndian
	if string(b[:4]) != Magic {
		return header{}, fmt.Errorf("magic %x; want %x", b[:4], Magic)
	}
	h := header{
		version:     be.Uint32(b[4:]),
		clusterBits: be.Uint32(b[20:]),
		l1Size:      be.Uint32(b[36:]),
		l1Offset:    be.Uint64(b[40:]),
	}
	if h.version != 2 && h.version != 3 {
		return header{}, fmt.Errorf("version %d; only 2 and 3 are known: qemu-img convert -O raw", h.version)
	}
	if h.version == 3 {
		if err := h.parseV3(b); err != nil {
			return header{}, err
		}
	}
	if err := refuse(b); err != nil {
		return header{}, err
	}
	if h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits {
		return header{}, fmt.Errorf("cluster bits %d; want %d to %d", h.clusterBits, minClusterBits, maxClusterBits)
	}
	return h, h.setSize(be.Uint64(b[24:]))
}

// parseV3 reads the fields that version 3 added after the first 72 bytes.
func (h *header) parseV3(b []byte) error {
	be := binary.BigEndian
	if len(b) < headerSizeV3 {
		return fmt.Errorf("truncated header: %d bytes; want at least %d", len(b), headerSizeV3)
	}
	length := be.Uint32(b[100:])
	if length < headerSizeV3 || length%8 != 0 {
		return fmt.Errorf("header length %d; want a multiple of 8, at least %d", length, headerSizeV3)
	}
	// The byte exists only when the header is long enough to hold it; without
	// it, the type is zlib.
	if length > headerSizeV3 {
		if len(b) <= headerSizeV3 {
			return errors.New("truncated header: no compression type")
		}
		h.compression = compression(b[headerSizeV3])
	}

	features := be.Uint64(b[72:])
	switch {
	case features&featureCorrupt != 0:
		return errors.New("marked corrupt: repair a copy with qemu-img check -r all")
	case features&featureDataFile != 0:
		return errors.New("keeps its data in an external file, which is never opened: make one file with qemu-img convert -O qcow2")
	case features&featureExtendedL2 != 0:
		return errors.New("has extended L2 entries (subclusters): qemu-img convert -O qcow2 makes an image without")
	}
	// A dirty image has stale reference counts. Those are needed only to write,
	// the tables that a reader follows are kept in order at all times.
	known := uint64(featureDirty | featureCompression)
	if unknown := features &^ known; unknown != 0 {
		return fmt.Errorf("unknown incompatible features (bits %s): qemu-img convert -O raw", bitList(unknown))
	}

	switch h.compression {
	case zlib, zstandard:
	default:
		return fmt.Errorf("unknown compression type %d: qemu-img convert -O raw", h.compression)
	}
	if (h.compression != zlib) != (features&featureCompression != 0) {
		return fmt.Errorf("compression type %d contradicts the feature bits %#x", h.compression, features)
	}
	return nil
}

// refuse rejects what would need another file or a key.
func refuse(b []byte) error {
	be := binary.BigEndian
	if off := be.Uint64(b[8:]); off != 0 {
		return fmt.Errorf("needs the backing file %s, which is never opened: make one file with qemu-img convert -O qcow2",
			backingName(b, off, be.Uint32(b[16:])))
	}
	switch method := be.Uint32(b[32:]); method {
	case 0:
		return nil
	case 1:
		return errors.New("is encrypted (AES): decrypt it with qemu-img convert")
	case 2:
		return errors.New("is encrypted (LUKS): decrypt it with qemu-img convert")
	default:
		return fmt.Errorf("has unknown encryption method %d", method)
	}
}

// backingName quotes the name when b reaches that far; it is for the message
// only.
func backingName(b []byte, off uint64, length uint32) string {
	if length > maxBackingName || off > uint64(len(b)) || uint64(length) > uint64(len(b))-off {
		return "that it names"
	}
	return fmt.Sprintf("%q", b[off:off+uint64(length)])
}

// setSize checks that the L1 table can map size bytes.
func (h *header) setSize(size uint64) error {
	if size == 0 {
		return errors.New("holds a disk of 0 bytes")
	}
	if size > 1<<63-1 || size%sectorSize != 0 {
		return fmt.Errorf("disk size %d is not a multiple of %d below 2^63", size, sectorSize)
	}
	h.size = int64(size)
	perL2 := h.clusterBits + h.l2Bits()
	want := (size-1)>>perL2 + 1
	if want*8 > maxL1Bytes {
		return fmt.Errorf("disk size %d needs an L1 table of %d entries; at most %d are read", size, want, maxL1Bytes/8)
	}
	if uint64(h.l1Size) < want {
		return fmt.Errorf("L1 table has %d entries; a disk of %d bytes needs %d", h.l1Size, size, want)
	}
	// Growing an image and taking snapshots can leave a longer table; what lies
	// beyond the disk's end is never looked at.
	h.l1Size = uint32(want)
	if h.l1Offset%(1<<h.clusterBits) != 0 {
		return fmt.Errorf("L1 table at offset %#x is not aligned to a cluster", h.l1Offset)
	}
	return nil
}

// l2Bits is log2 of the entries in one L2 table: a cluster of 8-byte entries.
func (h *header) l2Bits() uint32 { return h.clusterBits - 3 }

func bitList(v uint64) string {
	var s []string
	for i := range 64 {
		if v>>i&1 != 0 {
			s = append(s, fmt.Sprint(i))
		}
	}
	return strings.Join(s, ", ")
}
