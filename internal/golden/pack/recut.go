package pack

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/fsread"
)

// draft is a disk that was cut once.
type draft struct {
	table *golden.Table
	blob  io.ReaderAt
	level Level
}

// recut writes the draft's disk to w again, with zeros for its free space. A
// frame in which nothing changes is copied as it is. dropped counts the bytes
// that were not zero before, in blocks of 4 KiB.
func (k cutter) recut(ctx context.Context, from draft, free freeSpace, w io.Writer) (t *golden.Table, dropped int64, err error) {
	if t, err = golden.NewTable(from.table.ChunkSize, k.hash); err != nil {
		return nil, 0, err
	}
	c, err := newCompressor(ctx, k.hash, k.level, t.ChunkSize)
	if err != nil {
		return nil, 0, err
	}
	defer c.close()
	r := &recutter{compressor: c, from: from, copies: k.level == from.level}
	defer r.close()
	extents, stop := iter.Pull2(free.all())
	defer stop()
	clipped := clipper{next: extents}
	line := line{table: t, progress: k.progress, work: r.work}
	err = line.run(ctx, w, func(s *slot) (bool, error) {
		if s.index == from.table.Len() {
			return false, nil
		}
		start, length := from.table.Extent(s.index)
		s.n, s.chunk = int(length), from.table.Chunk(s.index)
		if s.free, err = clipped.within(s.free[:0], start, length); err != nil {
			return false, fmt.Errorf("reading the map of free space again: %w", err)
		}
		s.frame = append(s.frame[:0], make([]byte, s.chunk.Length)...)
		if n, err := from.blob.ReadAt(s.frame, s.chunk.Offset); n < len(s.frame) {
			return false, fmt.Errorf("reading the draft of the disk: %w", err)
		}
		return true, nil
	})
	return t, r.dropped.Load(), err
}

// recutter works on the chunks of a draft. Safe for concurrent use.
type recutter struct {
	*compressor
	from    draft
	copies  bool // a frame of the draft may stay
	dropped atomic.Int64

	mu   sync.Mutex
	idle []*golden.Decoder
}

func (r *recutter) work(s *slot) error {
	if s.zero = s.chunk.Zero; s.zero {
		if r.copies {
			return nil
		}
		return r.compress(s)
	}
	if r.copies && len(s.free) == 0 {
		return nil
	}
	if err := r.decode(s); err != nil {
		return err
	}
	var n int64
	for _, e := range s.free {
		n += clearData(s.raw[e.Start:e.End()])
	}
	r.dropped.Add(n)
	if r.copies && n == 0 {
		return nil
	}
	return r.compress(s)
}

// decode takes the frame of a slot apart, into its raw bytes.
func (r *recutter) decode(s *slot) error {
	dec, err := r.decoder()
	if err != nil {
		return err
	}
	_, err = dec.Decode(s.index, s.frame, s.raw)
	r.mu.Lock()
	r.idle = append(r.idle, dec)
	r.mu.Unlock()
	return err
}

// decoder gives one that nobody uses; there are no more than workers.
func (r *recutter) decoder() (*golden.Decoder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.idle); n > 0 {
		dec := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return dec, nil
	}
	return golden.NewDecoder(r.from.table)
}

func (r *recutter) close() {
	for _, dec := range r.idle {
		dec.Close()
	}
}

// clearData makes p zeros and returns how many bytes of it were not, in blocks.
func clearData(p []byte) (n int64) {
	const block = 4096
	for len(p) > 0 {
		b := p[:min(block, len(p))]
		if !allZero(b) {
			clear(b)
			n += int64(len(b))
		}
		p = p[len(b):]
	}
	return n
}

// clipper cuts a sequence of extents at the bounds of chunks.
type clipper struct {
	next func() (fsread.Extent, error, bool)
	held fsread.Extent // of no length when there is none
	end  bool
}

// within appends what lies in the length bytes from start on, relative to it.
// Chunks are asked for in their order.
func (c *clipper) within(list []fsread.Extent, start, length int64) ([]fsread.Extent, error) {
	for !c.end {
		if c.held.Length == 0 {
			e, err, ok := c.next()
			if err != nil {
				return nil, err
			}
			c.held, c.end = e, !ok
			continue
		}
		if c.held.Start >= start+length {
			break
		}
		n := min(c.held.End(), start+length) - c.held.Start
		list = append(list, fsread.Extent{Start: c.held.Start - start, Length: n})
		c.held.Start, c.held.Length = c.held.Start+n, c.held.Length-n
	}
	return list, nil
}
