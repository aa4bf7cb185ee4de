package pack

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/golden/inspect"
)

// tailed is a disk made as long as its partition table needs it: many a tool
// ends an image with the last file system, which ends before its partition
// does. What is missing reads as zeros; missing says whether it may.
type tailed struct {
	disk Disk
	head []byte // the beginning of the disk
	pos  int64  // bytes given

	ended  bool  // the disk has no more bytes
	proved bool  // and has said that this was all
	raw    int64 // bytes that it had
	end    int64 // bytes that its table needs, at least raw
}

const (
	tailHead = 128 << 10 // covers the entries of every usual GPT
	// maxTail is how much may be missing, in bytes: beyond all that a tool
	// leaves out, and little enough to be made of zeros.
	maxTail = 64 << 30
)

// ReadChunk implements [Disk].
func (t *tailed) ReadChunk(p []byte) (int, bool, error) {
	if t.proved {
		return t.zeros(p)
	}
	n, zero, err := t.disk.ReadChunk(p)
	// Not errors.Is: an error that merely wraps io.EOF tells of a cut.
	if err == io.EOF && n == 0 { //nolint:errorlint // see above
		t.measure()
		t.proved = true
		return t.zeros(p)
	}
	if err == nil && t.ended {
		err = errors.New("the disk continues after its last chunk")
	}
	if err != nil || n <= 0 || n > len(p) {
		return n, zero, err
	}
	if t.pos == 0 && !zero {
		t.head = slices.Clone(p[:min(n, tailHead)])
	}
	t.pos += int64(n)
	if n == len(p) {
		return n, zero, nil
	}
	t.measure()
	whole := n + int(min(int64(len(p)-n), t.end-t.pos))
	if zero && whole > n {
		clear(p[:n])
		zero = false
	}
	clear(p[n:whole])
	t.pos += int64(whole - n)
	return whole, zero, nil
}

// measure notes where the disk has ended, and where it should have.
func (t *tailed) measure() {
	if t.ended {
		return
	}
	t.ended, t.raw, t.end = true, t.pos, t.pos
	if need := t.needs(); need > t.raw && need-t.raw <= maxTail {
		t.end = need
	}
}

// needs is what the table at the head needs, in whole sectors of any size.
func (t *tailed) needs() int64 {
	end, _ := partition.End(t.head)
	return (end + 4095) &^ 4095
}

// zeros gives the next chunk of what is missing.
func (t *tailed) zeros(p []byte) (int, bool, error) {
	n := min(int64(len(p)), t.end-t.pos)
	if n <= 0 {
		return 0, false, io.EOF
	}
	t.pos += n
	return int(n), true, nil
}

// missing tells a harmless end from a cut: what a file system holds has to be
// there to its last byte. disk is what was stored, with the zeros.
func (t *tailed) missing(disk io.ReaderAt) ([]inspect.Note, error) {
	if t.needs()-t.raw > maxTail {
		return nil, fmt.Errorf("the image ends at byte %d, its partition table speaks of %d: it was cut, get it again", t.raw, t.needs())
	}
	short := false
	for _, p := range places(disk, t.end) {
		length, ok := probe.Length(io.NewSectionReader(disk, p.Start, p.Size), p.Size)
		switch {
		case p.Type == "" && ok && length > t.raw:
			return nil, fmt.Errorf("the image ends at byte %d, its file system has %d: it was cut, get it again", t.raw, length)
		case p.End() <= t.raw:
			continue
		case !ok || length > t.raw-p.Start:
			return nil,
				fmt.Errorf("the image ends at byte %d, in front of or within %s, which ends at byte %d: it was cut, get it again (if nothing "+
					"but zeros is missing: truncate -s %d IMAGE)", t.raw, p.name, p.End(), t.end)
		}
		short = true
	}
	if !short {
		return nil, nil // a backup GPT at most, which every disk gets anew
	}
	return []inspect.Note{{What: fmt.Sprintf("the image ends at byte %d, behind its last file system but before the end of its last "+
		"partition: the %d bytes up to there are taken as zeros", t.raw, t.end-t.raw)}}, nil
}
