package volume

import (
	"errors"
	"io"
	"sort"
)

// maxRuns bounds the map of one file in memory: 24 MiB. A file that needs more
// is not one that an import reads.
const maxRuns = 1 << 20

// Run is one contiguous piece of a file on the device. What no run covers is a
// hole.
type Run struct {
	Off, Pos, Length int64 // offset in the file, offset on the device, length; bytes
}

// RunList collects the runs of one file in the order of the file, and refuses
// what no sound file system holds.
type RunList struct {
	Runs   []Run
	Device int64 // size of the device in bytes
}

// Add appends a piece; one that continues the last on the device as in the file
// is merged into it, so that reading needs fewer calls.
func (l *RunList) Add(off, pos, length int64) error {
	if off < 0 || pos < 0 || length <= 0 || length > l.Device || pos > l.Device-length || off > 1<<62 {
		return Corrupt("extent of %d bytes at %d is outside the device", length, pos)
	}
	if n := len(l.Runs); n > 0 {
		last := &l.Runs[n-1]
		if off < last.Off+last.Length {
			return Corrupt("extents overlap at offset %d", off)
		}
		// A merged run stays within the device, because both of its parts do.
		if off == last.Off+last.Length && pos == last.Pos+last.Length {
			last.Length += length
			return nil
		}
	}
	if len(l.Runs) >= maxRuns {
		return Corrupt("more than %d extents", maxRuns)
	}
	l.Runs = append(l.Runs, Run{off, pos, length})
	return nil
}

// Content is the body of a file: either inline bytes or runs on the device.
type Content struct {
	R      io.ReaderAt
	Size   int64
	Inline []byte
	Runs   []Run
}

// ReadAt reads as [io.ReaderAt] says. Holes, and inline data shorter than the
// file, read as zeros.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= c.Size {
		return 0, io.EOF
	}
	var atEnd error
	if int64(len(p)) > c.Size-off {
		p, atEnd = p[:c.Size-off], io.EOF
	}
	if c.Runs == nil {
		n := 0
		if off < int64(len(c.Inline)) {
			n = copy(p, c.Inline[off:])
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
func (c *Content) readRuns(p []byte, off int64) (int, error) {
	i := sort.Search(len(c.Runs), func(i int) bool { return c.Runs[i].Off+c.Runs[i].Length > off })
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if i == len(c.Runs) {
			clear(p[n:])
			break
		}
		r := c.Runs[i]
		if at < r.Off {
			hole := min(int64(len(p)-n), r.Off-at)
			clear(p[n : n+int(hole)])
			n += int(hole)
			continue
		}
		part := min(int64(len(p)-n), r.Off+r.Length-at)
		got, err := ReadFull(c.R, p[n:n+int(part)], r.Pos+at-r.Off)
		n += got
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}

// MapBudget bounds the blocks that the map of one file may be read from. No
// file system holds more than it has blocks, and 65536 of them map hundreds of
// gigabytes.
func MapBudget(blocks int64) int { return int(min(blocks, 1<<16)) }
