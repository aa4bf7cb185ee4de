package pack

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/fsread"
)

// slot is one chunk on its way down the line.
type slot struct {
	index int
	raw   []byte
	n     int
	zero  bool            // known without looking
	free  []fsread.Extent // places in raw that are to become zeros
	frame []byte
	chunk golden.Chunk
	err   error
	done  chan struct{}
}

// line turns chunks into the frames of a blob, on all cores. Its slots bound
// the memory. Frames are written in order, so the same chunks always give the
// same bytes.
type line struct {
	table    *golden.Table           // of the blob; empty at first
	progress func(raw, stored int64) // may be nil
	// work makes the frame and the chunk of a slot. It is called by several
	// goroutines at once.
	work func(*slot) error
}

// run lets next fill slots until it says that there is no more, and writes
// their frames to w.
func (l *line) run(ctx context.Context, w io.Writer, next func(*slot) (bool, error)) error {
	workers := runtime.GOMAXPROCS(0)
	free := make(chan *slot, 2*workers+2)
	for range cap(free) {
		free <- &slot{raw: make([]byte, l.table.ChunkSize)}
	}
	work := make(chan *slot, cap(free))
	inOrder := make(chan *slot, cap(free))

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(work)
		defer close(inOrder)
		return feed(ctx, free, work, inOrder, next)
	})
	for range workers {
		g.Go(func() error {
			for s := range work {
				// The writer returns the error: it waits for every slot.
				s.err = l.work(s)
				close(s.done)
			}
			return nil
		})
	}
	g.Go(func() error {
		for s := range inOrder {
			<-s.done
			if err := l.write(w, s); err != nil {
				return err
			}
			free <- s
		}
		return nil
	})
	return g.Wait()
}

// feed fills slots. Every slot that it takes goes to both queues, which have
// room for all slots there are.
func feed(ctx context.Context, free <-chan *slot, work, inOrder chan<- *slot, next func(*slot) (bool, error)) error {
	for i := 0; ; i++ {
		var s *slot
		select {
		case s = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.index, s.done = i, make(chan struct{})
		if more, err := next(s); !more || err != nil {
			return err
		}
		work <- s
		inOrder <- s
	}
}

func (l *line) write(w io.Writer, s *slot) error {
	if s.err != nil {
		return fmt.Errorf("compressing chunk %d: %w", s.index, s.err)
	}
	s.chunk.Offset = l.table.BlobSize()
	if _, err := w.Write(s.frame); err != nil {
		return fmt.Errorf("storing chunk %d: %w", s.index, err)
	}
	if err := l.table.Append(int64(s.n), s.chunk); err != nil {
		return err
	}
	if l.progress != nil {
		l.progress(l.table.DiskSize, l.table.BlobSize())
	}
	return nil
}
