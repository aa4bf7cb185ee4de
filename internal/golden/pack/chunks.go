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
	// zero without p having been touched. io.EOF comes alone, after the last
	// byte, and only when the source was proved whole.
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

// chunks streams the disk into w as independent zstd frames, one a chunk, and
// returns their table. Compression and hashing run on all cores; the slots
// bound the memory. Frames are written in order, so the same disk always
// gives the same bytes.
func chunks(ctx context.Context, disk Disk, w io.Writer, hash golden.Algorithm, progress func(raw, stored int64)) (*golden.Table, error) {
	t := &golden.Table{ChunkSize: golden.DefaultChunkSize, Hash: hash}
	c, err := newCompressor(hash, t.ChunkSize)
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
		return read(ctx, disk, free, work, inOrder)
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
				return fmt.Errorf("storing chunk %d: %w", len(t.Chunks), err)
			}
			t.Chunks = append(t.Chunks, s.chunk)
			t.DiskSize += int64(s.n)
			if progress != nil {
				progress(t.DiskSize, t.BlobSize())
			}
			free <- s
		}
		return nil
	})
	return t, g.Wait()
}

// read cuts the disk into chunks. Every slot that it takes goes to both
// queues, which have room for all slots there are.
func read(ctx context.Context, disk Disk, free <-chan *slot, work, inOrder chan<- *slot) error {
	for {
		var s *slot
		select {
		case s = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n, zero, err := disk.ReadChunk(s.raw)
		if n > 0 {
			s.n, s.zero, s.done = n, zero, make(chan struct{})
			work <- s
			inOrder <- s
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
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
