package golden

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// ChunkError says that a chunk's bytes are not what the chunk table promises.
// A caller may fetch them again, from another source if it has one.
type ChunkError struct {
	Index int
	Err   error
}

func (e *ChunkError) Error() string { return fmt.Sprintf("chunk %d: %v", e.Index, e.Err) }
func (e *ChunkError) Unwrap() error { return e.Err }

// Decoder turns frames into raw chunks. It is the only way from a frame to
// raw bytes, so that no path exists on which the hash is not checked. Not
// safe for concurrent use: one a worker.
type Decoder struct {
	table *Table
	zstd  *zstd.Decoder
}

// NewDecoder makes a decoder for the table's chunks.
func NewDecoder(t *Table) (*Decoder, error) {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(MaxChunkSize)),
		// A frame that claims or yields more than its chunk is cut off at the
		// buffer's capacity, so a bomb costs nothing.
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("starting zstd decoder: %w", err)
	}
	return &Decoder{table: t, zstd: dec}, nil
}

// Close frees the decoder's buffers.
func (d *Decoder) Close() { d.zstd.Close() }

// Decode decodes the frame of chunk i into dst, whose length must be at least
// that of the chunk, and returns the raw chunk as a slice of dst. A frame
// that is damaged, too long, too short or of other content is a *ChunkError,
// and dst then holds nothing of value.
func (d *Decoder) Decode(i int, frame, dst []byte) ([]byte, error) {
	_, length := d.table.Extent(i)
	raw, err := d.zstd.DecodeAll(frame, dst[:0:length])
	if err != nil {
		return nil, &ChunkError{i, fmt.Errorf("decoding frame: %w", err)}
	}
	if int64(len(raw)) != length {
		return nil, &ChunkError{i, fmt.Errorf("frame holds %d bytes, want %d", len(raw), length)}
	}
	if d.table.Hash.Sum(raw) != d.table.Chunk(i).Hash {
		return nil, &ChunkError{i, fmt.Errorf("bytes do not match their %v hash", d.table.Hash)}
	}
	return raw, nil
}
