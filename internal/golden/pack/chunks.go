package pack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden"
)

// Disk is a golden image read once, front to back; *source.Disk is one.
type Disk interface {
	// ReadChunk fills p with the next bytes. zero says that they are all
	// zero without p having been touched. n < len(p) only in the last chunk.
	// io.EOF itself, wrapped by nothing, comes alone, after the last byte, and
	// only when the source was proved whole.
	ReadChunk(p []byte) (n int, zero bool, err error)
}

// maxChunks is what a chunk table can describe: golden.MaxTableSize in
// records of 48 bytes.
const maxChunks = golden.MaxTableSize/48 - 2

// errTooLarge ends a disk that no table can describe. A few kilobytes of gzip
// can hold one.
var errTooLarge = errors.New("the disk is larger than an image can be")

// cutter cuts disks into chunks.
type cutter struct {
	hash     golden.Algorithm
	level    Level
	limit    int                     // chunks
	progress func(raw, stored int64) // may be nil
}

// cut streams the disk into w as independent zstd frames, one a chunk, and
// returns their table.
func (k cutter) cut(ctx context.Context, disk Disk, w io.Writer) (*golden.Table, error) {
	t, err := golden.NewTable(golden.DefaultChunkSize, k.hash)
	if err != nil {
		return nil, err
	}
	c, err := newCompressor(ctx, k.hash, k.level, t.ChunkSize)
	if err != nil {
		return nil, err
	}
	defer c.close()
	short := false
	line := line{table: t, progress: k.progress, work: c.compress}
	return t, line.run(ctx, w, func(s *slot) (bool, error) {
		n, zero, err := disk.ReadChunk(s.raw)
		// Not errors.Is: an error that merely wraps io.EOF tells of a cut.
		if n == 0 && err == io.EOF { //nolint:errorlint // see above
			return false, nil
		}
		if err == nil {
			err = k.checkChunk(s.index, n, len(s.raw), short)
		}
		if err != nil {
			return false, &InputError{err}
		}
		short = n < len(s.raw)
		s.n, s.zero = n, zero
		return true, nil
	})
}

// checkChunk holds a disk to its contract: the table derives the place of a
// chunk from its number.
func (k cutter) checkChunk(i, n, want int, afterShort bool) error {
	switch {
	case n == 0:
		return fmt.Errorf("chunk %d: %w", i, io.ErrNoProgress)
	case n < 0 || n > want:
		return fmt.Errorf("chunk %d has %d bytes, want 1 to %d", i, n, want)
	case afterShort:
		return fmt.Errorf("chunk %d follows after a short one", i)
	case i >= k.limit:
		return fmt.Errorf("%w: %d chunks", errTooLarge, k.limit)
	}
	return nil
}
