package fsread

import (
	"io"
	"sort"
)

// maxRuns bounds the map of one file in memory: 24 MiB. A file that needs more is not one that an import reads.
const maxRuns = 1 << 20

// run is one contiguous piece of a file on the device. What no run covers is a hole.
type run struct {
	off, pos, length int64 // offset in the file, offset on the device, length; bytes
}

// runList collects the runs of one file in the order of the file, and refuses what no sound file system holds.
type runList struct {
	runs   []run
	device int64 // size of the device in bytes
}

// add appends a piece; one that continues the last on the device as in the file is merged into it, so that reading
// needs fewer calls.
func (l *runList) add(off, pos, length int64) error {
	if off < 0 || pos < 0 || length <= 0 || length > l.device || pos > l.device-length || off > 1<<62 {
		return corrupt("extent of %d bytes at %d is outside the device", length, pos)
	}
	if n := len(l.runs); n > 0 {
		last := &l.runs[n-1]
		if off < last.off+last.length {
			return corrupt("extents overlap at offset %d", off)
		}
		// A merged run stays within the device, because both of its parts do.
		if off == last.off+last.length && pos == last.pos+last.length {
			last.length += length
			return nil
		}
	}
	if len(l.runs) >= maxRuns {
		return corrupt("more than %d extents", maxRuns)
	}
	l.runs = append(l.runs, run{off, pos, length})
	return nil
}

// content is the body of a file: either inline bytes or runs on the device.
type content struct {
	r      io.ReaderAt
	size   int64
	inline []byte
	runs   []run
}

// ReadAt reads as [io.ReaderAt] says. Holes, and inline data shorter than the file, read as zeros.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errNegativeOffset
	}
	if off >= c.size {
		return 0, io.EOF
	}
	var atEnd error
	if int64(len(p)) > c.size-off {
		p, atEnd = p[:c.size-off], io.EOF
	}
	if c.runs == nil {
		n := 0
		if off < int64(len(c.inline)) {
			n = copy(p, c.inline[off:])
		}
		clear(p[n:])
		return len(p), atEnd
	}
	if n, err := c.readRuns(p, off); err != nil {
		return n, err
	}
	return len(p), atEnd
}

// readRuns fills p, which lies within the file.
func (c *content) readRuns(p []byte, off int64) (int, error) {
	i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].off+c.runs[i].length > off })
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if i == len(c.runs) {
			clear(p[n:])
			break
		}
		r := c.runs[i]
		if at < r.off {
			hole := min(int64(len(p)-n), r.off-at)
			clear(p[n : n+int(hole)])
			n += int(hole)
			continue
		}
		part := min(int64(len(p)-n), r.off+r.length-at)
		got, err := readFull(c.r, p[n:n+int(part)], r.pos+at-r.off)
		n += got
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}
