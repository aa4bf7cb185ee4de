package golden

import (
	"errors"
	"fmt"
	"iter"
	"math"
)

// Chunk is one slice of the raw disk: what it hashes to and where its zstd
// frame lies in the disk blob.
type Chunk struct {
	Hash   Hash
	Offset int64 // of the frame in the disk blob, bytes
	Length int64 // of the frame, bytes; never 0
	Zero   bool  // every raw byte is zero
}

// Table is the chunk table. Chunk i covers the raw bytes from i*ChunkSize;
// only the last one may be shorter.
//
// A disk of a terabyte has a million chunks and an agent little memory, so a
// chunk of zeros costs 4 bytes and any other one 36. Safe for concurrent use
// once nothing is appended any more.
type Table struct {
	DiskSize  int64 // bytes
	ChunkSize int64 // bytes, a power of two
	Hash      Algorithm

	frames []uint32 // length of each chunk's frame in bytes, zeroFrame set for zeros
	hashes []Hash   // of the chunks that are not zeros, in their order
	marks  []mark   // of each markEvery-th chunk
	end    int64    // of the last frame in the blob
	zeros  [2]Hash  // of a full and of a short chunk of zeros, where there is one
}

// mark is what it takes to find a chunk without adding up all before it.
type mark struct {
	offset int64 // of the chunk's frame in the blob
	hashed int   // how many chunks before it are not zeros
}

const (
	markEvery = 64
	zeroFrame = 1 << 31 // no frame is that long: see MaxFrameSize
)

// NewTable returns a table to which chunks can be appended.
func NewTable(chunkSize int64, hash Algorithm) (*Table, error) {
	if hash != SHA256 && hash != BLAKE3 {
		return nil, fmt.Errorf("unknown chunk hash, %v", hash)
	}
	if !validChunkSize(chunkSize) {
		return nil, fmt.Errorf("chunk size %d, want a power of two from %d to %d", chunkSize, MinChunkSize, MaxChunkSize)
	}
	return &Table{ChunkSize: chunkSize, Hash: hash}, nil
}

// Append adds the next chunk, which holds raw bytes of the disk. It refuses a
// chunk after a short one, a frame that does not follow the last one or has a
// length that no frame of this chunk size can have, and zeros whose hash is
// not that of zeros.
func (t *Table) Append(raw int64, c Chunk) error {
	i := len(t.frames)
	switch {
	case raw <= 0 || raw > t.ChunkSize:
		return fmt.Errorf("chunk %d has %d bytes, want 1 to %d", i, raw, t.ChunkSize)
	case t.DiskSize%t.ChunkSize != 0:
		return fmt.Errorf("chunk %d follows after a short one", i)
	case t.DiskSize > MaxDiskSize-raw:
		return fmt.Errorf("chunk %d makes the disk larger than %d bytes", i, int64(MaxDiskSize))
	case c.Offset != t.end:
		return fmt.Errorf("chunk %d lies at %d in the blob, want %d: frames follow each other", i, c.Offset, t.end)
	case c.Length <= 0 || c.Length > MaxFrameSize(t.ChunkSize):
		return fmt.Errorf("chunk %d has a frame of %d bytes, want 1 to %d", i, c.Length, MaxFrameSize(t.ChunkSize))
	case c.Zero && c.Hash != t.zeroHash(raw):
		return fmt.Errorf("chunk %d is marked as zeros, its hash is not that of zeros", i)
	}
	if i%markEvery == 0 {
		t.marks = append(t.marks, mark{t.end, len(t.hashes)})
	}
	frame := uint32(c.Length)
	if c.Zero {
		frame |= zeroFrame
	} else {
		t.hashes = append(t.hashes, c.Hash)
	}
	t.frames = append(t.frames, frame)
	t.DiskSize += raw
	t.end += c.Length
	return nil
}

// ZeroHash returns the hash of length zero bytes, the size of a chunk of this
// table.
func (t *Table) ZeroHash(length int64) Hash {
	for i, known := range t.zeros {
		if known != (Hash{}) && (i == 0) == (length == t.ChunkSize) {
			return known
		}
	}
	return t.Hash.Sum(make([]byte, length))
}

// zeroHash returns the hash of a chunk of zeros, computed once for each of
// the two lengths that a disk can have.
func (t *Table) zeroHash(raw int64) Hash {
	known := &t.zeros[0]
	if raw < t.ChunkSize {
		known = &t.zeros[1]
	}
	if *known == (Hash{}) {
		*known = t.Hash.Sum(make([]byte, raw))
	}
	return *known
}

// Len returns how many chunks there are.
func (t *Table) Len() int { return len(t.frames) }

// Zero reports whether chunk i holds nothing but zeros.
func (t *Table) Zero(i int) bool { return t.frames[i]&zeroFrame != 0 }

// Chunk returns chunk i, which must be one of the table's.
func (t *Table) Chunk(i int) Chunk {
	at := t.marks[i/markEvery]
	for _, frame := range t.frames[i-i%markEvery : i] {
		at.pass(frame)
	}
	return t.chunkAt(i, at)
}

// All yields the chunks in their order, with their numbers.
func (t *Table) All() iter.Seq2[int, Chunk] {
	return func(yield func(int, Chunk) bool) {
		var at mark
		for i, frame := range t.frames {
			if !yield(i, t.chunkAt(i, at)) {
				return
			}
			at.pass(frame)
		}
	}
}

// pass moves the mark behind a chunk with this frame.
func (m *mark) pass(frame uint32) {
	m.offset += int64(frame &^ zeroFrame)
	if frame&zeroFrame == 0 {
		m.hashed++
	}
}

func (t *Table) chunkAt(i int, at mark) Chunk {
	c := Chunk{Offset: at.offset, Length: int64(t.frames[i] &^ zeroFrame), Zero: t.Zero(i)}
	switch _, length := t.Extent(i); {
	case !c.Zero:
		c.Hash = t.hashes[at.hashed]
	case length == t.ChunkSize:
		c.Hash = t.zeros[0]
	default:
		c.Hash = t.zeros[1]
	}
	return c
}

// ChunkCount returns how many chunks a disk has.
func ChunkCount(diskSize, chunkSize int64) int64 {
	return (diskSize + chunkSize - 1) / chunkSize
}

// Extent returns where chunk i lies on the raw disk, in bytes.
func (t *Table) Extent(i int) (offset, length int64) {
	offset = int64(i) * t.ChunkSize
	return offset, min(t.ChunkSize, t.DiskSize-offset)
}

// BlobSize returns the length of the disk blob in bytes: the frames lie end
// to end from its start.
func (t *Table) BlobSize() int64 { return t.end }

// DataSize returns the raw bytes of all chunks that are not zero.
func (t *Table) DataSize() int64 {
	var n int64
	for i := range t.frames {
		if !t.Zero(i) {
			_, length := t.Extent(i)
			n += length
		}
	}
	return n
}

// checkSize reports a disk that no table can describe.
func (t *Table) checkSize(diskSize int64, chunks uint64) error {
	if diskSize <= 0 || diskSize > MaxDiskSize || chunks > math.MaxInt64 || ChunkCount(diskSize, t.ChunkSize) != int64(chunks) {
		return fmt.Errorf("%d chunks of %d bytes do not make a disk of %d bytes", chunks, t.ChunkSize, diskSize)
	}
	return nil
}

var errEmptyTable = errors.New("no chunks")

// MaxDiskSize bounds a disk in bytes (1 EiB) so that no sum of offsets can
// overflow 63 bits.
const MaxDiskSize = 1 << 60

// MaxFrameSize is the longest frame that a chunk can have, in bytes: zstd
// stores incompressible blocks as they are and adds three bytes a block of
// 128 KiB and a header (RFC 8878, 3.1.1).
func MaxFrameSize(chunkSize int64) int64 { return chunkSize + chunkSize/256 + 64 }
