package golden

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The chunk table is a header and one record a chunk, little endian, fixed
// sizes, no padding between: docs/formats.md, "Chunk table".
const (
	tableMagic   = "GILDCHNK"
	tableVersion = 1
	headerSize   = 64
	recordSize   = 48

	flagZero = 1 << 0
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
type Table struct {
	DiskSize  int64 // bytes
	ChunkSize int64 // bytes, a power of two
	Hash      Algorithm
	Chunks    []Chunk
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
func (t *Table) BlobSize() int64 {
	if len(t.Chunks) == 0 {
		return 0
	}
	last := t.Chunks[len(t.Chunks)-1]
	return last.Offset + last.Length
}

// DataSize returns the raw bytes of all chunks that are not zero.
func (t *Table) DataSize() int64 {
	var n int64
	for i, c := range t.Chunks {
		if !c.Zero {
			_, length := t.Extent(i)
			n += length
		}
	}
	return n
}

// MarshalBinary writes the table in its one byte form.
func (t *Table) MarshalBinary() ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("writing chunk table: %w", err)
	}
	p := make([]byte, headerSize, headerSize+len(t.Chunks)*recordSize)
	le := binary.LittleEndian
	copy(p, tableMagic)
	le.PutUint16(p[8:], tableVersion)
	le.PutUint16(p[10:], uint16(t.Hash))
	le.PutUint32(p[12:], recordSize)
	le.PutUint64(p[16:], uint64(t.DiskSize))
	le.PutUint64(p[24:], uint64(t.ChunkSize))
	le.PutUint64(p[32:], uint64(len(t.Chunks)))
	for _, c := range t.Chunks {
		var flags uint32
		if c.Zero {
			flags |= flagZero
		}
		p = append(p, c.Hash[:]...)
		p = le.AppendUint64(p, uint64(c.Offset))
		p = le.AppendUint32(p, uint32(c.Length))
		p = le.AppendUint32(p, flags)
	}
	return p, nil
}

// ParseTable reads a chunk table. Every byte is accounted for: a table that
// is cut, extended, or holds anything in a reserved place is refused.
func ParseTable(p []byte) (*Table, error) {
	t, err := parseTable(p)
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("reading chunk table: %w", err)
	}
	return t, nil
}

func parseTable(p []byte) (*Table, error) {
	if len(p) < headerSize || string(p[:8]) != tableMagic {
		return nil, errors.New("not a chunk table")
	}
	le := binary.LittleEndian
	if v := le.Uint16(p[8:]); v != tableVersion {
		return nil, fmt.Errorf("version %d, this program reads %d", v, tableVersion)
	}
	if n := le.Uint32(p[12:]); n != recordSize {
		return nil, fmt.Errorf("records of %d bytes, want %d", n, recordSize)
	}
	for _, b := range p[40:headerSize] {
		if b != 0 {
			return nil, errors.New("reserved header bytes are not zero")
		}
	}
	records := p[headerSize:]
	// Divide, never multiply: the count is foreign and may be anything.
	count := le.Uint64(p[32:])
	if len(records)%recordSize != 0 || count != uint64(len(records)/recordSize) {
		return nil, fmt.Errorf("%d records announced in %d bytes", count, len(records))
	}
	t := &Table{
		Hash:      Algorithm(le.Uint16(p[10:])),
		DiskSize:  int64(le.Uint64(p[16:])),
		ChunkSize: int64(le.Uint64(p[24:])),
		Chunks:    make([]Chunk, count),
	}
	for i := range t.Chunks {
		r := records[i*recordSize:]
		flags := le.Uint32(r[44:])
		if flags&^flagZero != 0 {
			return nil, fmt.Errorf("chunk %d has unknown flags %#x", i, flags)
		}
		t.Chunks[i] = Chunk{
			Hash:   Hash(r[:HashSize]),
			Offset: int64(le.Uint64(r[32:])),
			Length: int64(le.Uint32(r[40:])),
			Zero:   flags&flagZero != 0,
		}
	}
	return t, nil
}

// Check reports what is wrong with the table taken by itself: sizes, counts,
// frames that overlap or leave a gap.
func (t *Table) Check() error {
	if t.Hash != SHA256 && t.Hash != BLAKE3 {
		return fmt.Errorf("unknown chunk hash, %v", t.Hash)
	}
	if !validChunkSize(t.ChunkSize) {
		return fmt.Errorf("chunk size %d, want a power of two from %d to %d", t.ChunkSize, MinChunkSize, MaxChunkSize)
	}
	if t.DiskSize <= 0 || t.DiskSize > MaxDiskSize || ChunkCount(t.DiskSize, t.ChunkSize) != int64(len(t.Chunks)) {
		return fmt.Errorf("%d chunks of %d bytes do not make a disk of %d bytes", len(t.Chunks), t.ChunkSize, t.DiskSize)
	}
	var next int64
	zeros := zeroHashes{alg: t.Hash}
	for i, c := range t.Chunks {
		if _, length := t.Extent(i); c.Zero && c.Hash != zeros.of(length) {
			return fmt.Errorf("chunk %d is marked as zeros, its hash is not that of zeros", i)
		}
		if c.Offset != next {
			return fmt.Errorf("chunk %d lies at %d in the blob, want %d: frames follow each other", i, c.Offset, next)
		}
		if c.Length <= 0 || c.Length > MaxFrameSize(t.ChunkSize) {
			return fmt.Errorf("chunk %d has a frame of %d bytes, want 1 to %d", i, c.Length, MaxFrameSize(t.ChunkSize))
		}
		next += c.Length
	}
	return nil
}

// zeroHashes knows the hash of a run of zeros, for the last length asked.
type zeroHashes struct {
	alg    Algorithm
	length int64
	hash   Hash
}

func (z *zeroHashes) of(length int64) Hash {
	if z.length != length {
		z.length, z.hash = length, z.alg.Sum(make([]byte, length))
	}
	return z.hash
}

// MaxDiskSize bounds a disk in bytes (1 EiB) so that no sum of offsets can
// overflow 63 bits.
const MaxDiskSize = 1 << 60

// MaxFrameSize is the longest frame that a chunk can have, in bytes: zstd
// stores incompressible blocks as they are and adds three bytes a block of
// 128 KiB and a header (RFC 8878, 3.1.1).
func MaxFrameSize(chunkSize int64) int64 { return chunkSize + chunkSize/256 + 64 }
