package volume

import (
	"fmt"
	"io"
	"sync"
)

// The reader below may decompress a whole chunk for each call, so metadata is
// read in pages that many inodes and small files share: 64 KiB is a qcow2
// cluster and holds 256 ext4 inodes. 128 pages are 8 MiB.
const (
	pageSize = 64 << 10
	maxPages = 128
)

// Device is an io.ReaderAt over the first size bytes of another that keeps the
// pages used last.
type Device struct {
	r    io.ReaderAt
	Size int64

	mu    sync.Mutex
	pages map[int64]*page
	clock uint64
}

type page struct {
	data []byte
	used uint64
}

// NewDevice reads the first size bytes of r.
func NewDevice(r io.ReaderAt, size int64) *Device {
	return &Device{r: r, Size: size, pages: make(map[int64]*page)}
}

// ReadAt fills p or fails; there is no short read. Reads of a page or more pass
// the cache by, so that the body of a large file does not push the inodes out.
func (c *Device) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > c.Size || int64(len(p)) > c.Size-off {
		return 0, fmt.Errorf("read %d bytes at %d of %d: %w", len(p), off, c.Size, io.ErrUnexpectedEOF)
	}
	if len(p) >= pageSize {
		return ReadFull(c.r, p, off)
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		data, err := c.page(at / pageSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%pageSize:])
	}
	return n, nil
}

// page gives the page with the given number. The lock is not held while
// reading: two readers of one page cost one read too many, not a wait of all
// for the slowest.
func (c *Device) page(number int64) ([]byte, error) {
	c.mu.Lock()
	c.clock++
	if pg, ok := c.pages[number]; ok {
		pg.used = c.clock
		c.mu.Unlock()
		return pg.data, nil
	}
	c.mu.Unlock()

	start := number * pageSize
	data := make([]byte, min(pageSize, c.Size-start))
	if _, err := ReadFull(c.r, data, start); err != nil {
		return nil, err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pages) >= maxPages {
		c.evict()
	}
	c.pages[number] = &page{data: data, used: c.clock}
	return data, nil
}

// evict drops the page that was not used for longest. A scan of 128 entries
// costs less than the read that follows.
func (c *Device) evict() {
	oldest, used := int64(-1), c.clock+1
	for number, pg := range c.pages {
		if pg.used < used {
			oldest, used = number, pg.used
		}
	}
	delete(c.pages, oldest)
}

// ReadFull hides the freedom that io.ReaderAt has at the end: io.EOF together
// with a full buffer.
func ReadFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}
