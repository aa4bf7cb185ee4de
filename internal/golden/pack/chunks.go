package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

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

// slot is one chunk on its way through the compressors.
type slot struct {
	raw   []byte
	n     int
	zero  bool // known without looking
	frame []byte
	chunk golden.Chunk
	done  chan struct{}
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
	limit    int                     // chunks
	progress func(raw, stored int64) // may be nil
}

// cut streams the disk into w as independent zstd frames, one a chunk, and
// returns their table. Compression and hashing run on all cores; the slots
// bound the memory. Frames are written in order, so the same disk always
// gives the same bytes.
func (k cutter) cut(ctx context.Context, disk Disk, w io.Writer) (*golden.Table, error) {
	t, err := golden.NewTable(golden.DefaultChunkSize, k.hash)
	if err != nil {
		return nil, err
	}
	c, err := newCompressor(k.hash, t.ChunkSize)
	if err != nil {
		return nil, err
	}
	defer c.zstd.Close()
	workers := runtime.GOMAXPROCS(0)
	free := make(chan *slot, 2*workers+2)
	for range cap(free) {
		free <- &slot{raw: make([]byte, t.ChunkSize)}
	}
	work := make(chan *slot, cap(free))
	inOrder := make(chan *slot, cap(free))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(work)
		defer close(inOrder)
		return k.read(ctx, disk, free, work, inOrder)
	})
	for range workers {
		g.Go(func() error {
			for s := range work {
				c.compress(s)
				close(s.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		for s := range inOrder {
			<-s.done
			s.chunk.Offset = t.BlobSize()
			if _, err := w.Write(s.frame); err != nil {
				return fmt.Errorf("storing chunk %d: %w", t.Len(), err)
			}
			if err := t.Append(int64(s.n), s.chunk); err != nil {
				return err
			}
			if k.progress != nil {
				k.progress(t.DiskSize, t.BlobSize())
			}
			free <- s
		}
		return nil
	})
	return t, g.Wait()
}

// read fills slots from the disk. Every slot that it takes goes to both
// queues, which have room for all slots there are.
func (k cutter) read(ctx context.Context, disk Disk, free <-chan *slot, work, inOrder chan<- *slot) error {
	short := false
	for i := 0; ; i++ {
		var s *slot
		select {
		case s = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n, zero, err := disk.ReadChunk(s.raw)
		// Not errors.Is: an error that merely wraps io.EOF tells of a cut.
		if n == 0 && err == io.EOF { //nolint:errorlint // see above
			return nil
		}
		if err == nil {
			err = k.checkChunk(i, n, len(s.raw), short)
		}
		if err != nil {
			return &InputError{err}
		}
		short = n < len(s.raw)
		s.n, s.zero, s.done = n, zero, make(chan struct{})
		work <- s
		inOrder <- s
	}
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

// compressor turns raw chunks into frames. Safe for concurrent use: EncodeAll
// has an encoder for each caller.
type compressor struct {
	hash golden.Algorithm
	zstd *zstd.Encoder

	mu    sync.Mutex
	zeros map[int]zeroFrame // by length: at most a full chunk and the last one
}

type zeroFrame struct {
	frame []byte
	hash  golden.Hash
}

func newCompressor(hash golden.Algorithm, chunkSize int64) (*compressor, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(int(chunkSize)),
		zstd.WithEncoderCRC(true),
		zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("starting zstd encoder: %w", err)
	}
	return &compressor{hash: hash, zstd: enc, zeros: map[int]zeroFrame{}}, nil
}

func (c *compressor) compress(s *slot) {
	raw := s.raw[:s.n]
	if s.zero || allZero(raw) {
		z := c.zero(s.n)
		s.frame = append(s.frame[:0], z.frame...)
		s.chunk = golden.Chunk{Hash: z.hash, Length: int64(len(z.frame)), Zero: true}
		return
	}
	s.frame = c.zstd.EncodeAll(raw, s.frame[:0])
	s.chunk = golden.Chunk{Hash: c.hash.Sum(raw), Length: int64(len(s.frame))}
}

// zero gives the frame of n zero bytes, made once.
func (c *compressor) zero(n int) zeroFrame {
	c.mu.Lock()
	defer c.mu.Unlock()
	z, ok := c.zeros[n]
	if !ok {
		raw := make([]byte, n)
		z = zeroFrame{c.zstd.EncodeAll(raw, nil), c.hash.Sum(raw)}
		c.zeros[n] = z
	}
	return z
}

// allZero compares block by block, which runs at memory speed.
func allZero(p []byte) bool {
	const step = 4096
	var zeros [step]byte
	for len(p) > 0 {
		n := min(step, len(p))
		if string(p[:n]) != string(zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
