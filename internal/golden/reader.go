package golden

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// cachedChunks is how many raw chunks a Reader keeps: file systems jump
// between a few places (inode tables, directories, the file being read).
const cachedChunks = 16

// Reader reads the raw disk of a stored image at any offset, chunk by chunk,
// every chunk checked. Memory is bounded whatever the size of the image.
// Safe for concurrent use.
type Reader struct {
	table *Table
	blob  io.ReaderAt

	mu    sync.Mutex
	dec   *Decoder
	cache []cachedChunk // most recently used last
	frame []byte
}

type cachedChunk struct {
	index int
	raw   []byte
}

// NewReader reads the disk that t describes from its blob of frames.
func NewReader(t *Table, blob io.ReaderAt) (*Reader, error) {
	dec, err := NewDecoder(t)
	if err != nil {
		return nil, err
	}
	return &Reader{table: t, blob: blob, dec: dec}, nil
}

// Size returns the size of the raw disk in bytes.
func (r *Reader) Size() int64 { return r.table.DiskSize }

// ReadAt implements io.ReaderAt on the raw disk.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading image at negative offset %d", off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var n int
	for n < len(p) && off < r.table.DiskSize {
		i := int(off / r.table.ChunkSize)
		raw, err := r.chunk(i)
		if err != nil {
			return n, err
		}
		start, _ := r.table.Extent(i)
		c := copy(p[n:], raw[off-start:])
		n, off = n+c, off+int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk returns chunk i from the cache or from the blob. r.mu is held.
func (r *Reader) chunk(i int) ([]byte, error) {
	for k := len(r.cache) - 1; k >= 0; k-- {
		if hit := r.cache[k]; hit.index == i {
			r.cache = append(append(r.cache[:k], r.cache[k+1:]...), hit)
			return hit.raw, nil
		}
	}
	var buf []byte
	if len(r.cache) >= cachedChunks {
		buf = r.cache[0].raw[:0]
		r.cache = r.cache[1:]
	}
	if int64(cap(buf)) < r.table.ChunkSize {
		buf = make([]byte, r.table.ChunkSize)
	}
	c := r.table.Chunk(i)
	if int64(cap(r.frame)) < c.Length {
		r.frame = make([]byte, c.Length)
	}
	frame := r.frame[:c.Length]
	if n, err := r.blob.ReadAt(frame, c.Offset); n < len(frame) {
		return nil, fmt.Errorf("reading frame of chunk %d: %w", i, noEOF(err))
	}
	raw, err := r.dec.Decode(i, frame, buf[:r.table.ChunkSize])
	if err != nil {
		return nil, err
	}
	r.cache = append(r.cache, cachedChunk{i, raw})
	return raw, nil
}

// noEOF makes an early end what it is: an error.
func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
