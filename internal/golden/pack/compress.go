package pack

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/golden"
)

// Level says how much time a byte less is worth. Every level gives frames that
// any zstd reads.
type Level int

// The levels; docs/decisions/0010 has what they cost and give.
const (
	Default Level = iota
	Fast
	Best // minutes for a gigabyte
)

var levelNames = map[Level]string{Default: "default", Fast: "fast", Best: "best"}

func (l Level) String() string { return levelNames[l] }

// ParseLevel is the inverse of String.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if name == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown level %.40q, want fast, default or best", s)
}

// encoder makes one frame of src, appended to dst, with its content size and
// checksum. Safe for concurrent use.
type encoder interface {
	encode(dst, src []byte) ([]byte, error)
	close()
}

func newEncoder(ctx context.Context, level Level, chunkSize int64) (encoder, error) {
	speed := zstd.SpeedDefault
	switch level {
	case Fast:
		speed = zstd.SpeedFastest
	case Best:
		if e, ok := newZstdProgram(ctx); ok {
			return e, nil
		}
		speed = zstd.SpeedBestCompression
	}
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(speed),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(int(chunkSize)),
		zstd.WithEncoderCRC(true),
		zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("starting zstd encoder: %w", err)
	}
	return builtIn{enc}, nil
}

// builtIn is the encoder written in Go. EncodeAll has a state for each caller.
type builtIn struct{ *zstd.Encoder }

func (b builtIn) encode(dst, src []byte) ([]byte, error) { return b.EncodeAll(src, dst), nil }
func (b builtIn) close()                                 { _ = b.Close() }

// compressor turns raw chunks into frames. Safe for concurrent use.
type compressor struct {
	hash golden.Algorithm
	encoder

	mu    sync.Mutex
	zeros map[int]zeroFrame // by length: at most a full chunk and the last one
}

type zeroFrame struct {
	frame []byte
	hash  golden.Hash
}

func newCompressor(ctx context.Context, hash golden.Algorithm, level Level, chunkSize int64) (*compressor, error) {
	enc, err := newEncoder(ctx, level, chunkSize)
	if err != nil {
		return nil, err
	}
	return &compressor{hash: hash, encoder: enc, zeros: map[int]zeroFrame{}}, nil
}

func (c *compressor) compress(s *slot) error {
	raw := s.raw[:s.n]
	if s.zero || allZero(raw) {
		z, err := c.zero(s.n)
		s.frame = append(s.frame[:0], z.frame...)
		s.chunk = golden.Chunk{Hash: z.hash, Length: int64(len(z.frame)), Zero: true}
		return err
	}
	var err error
	s.frame, err = c.encode(s.frame[:0], raw)
	s.chunk = golden.Chunk{Hash: c.hash.Sum(raw), Length: int64(len(s.frame))}
	return err
}

// zero gives the frame of n zero bytes, made once.
func (c *compressor) zero(n int) (zeroFrame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	z, ok := c.zeros[n]
	if !ok {
		raw := make([]byte, n)
		frame, err := c.encode(nil, raw)
		if err != nil {
			return zeroFrame{}, err
		}
		z = zeroFrame{frame, c.hash.Sum(raw)}
		c.zeros[n] = z
	}
	return z, nil
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
