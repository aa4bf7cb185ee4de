package virtual

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden/le"
)

// VMDKDescriptor begins the file that names the extents of a VMDK.
const VMDKDescriptor = "# Disk DescriptorFile"

// MaxVMDKDescriptor bounds that file, in bytes; a disk of 2 TiB in pieces of 2
// GiB has 50 KiB.
const MaxVMDKDescriptor = 64 << 10

const maxExtents = 1024

// Set is a disk whose extents lie in files of their own. It is not safe for
// concurrent use.
type Set struct {
	extents []extent
	size    int64
}

// extent is a range of the disk.
type extent struct {
	at, size int64 // bytes of the disk
	from     int64 // byte of its file
	file     io.ReaderAt
	fileSize int64
	sparse   *Image // nil where it lies in the file as it is
}

// OpenVMDKSet opens the disk of a descriptor: in pieces (twoGbMaxExtentSparse,
// twoGbMaxExtentFlat) or in one flat file (monolithicFlat). open gives the
// files that it names and their sizes.
func OpenVMDKSet(descriptor []byte, open func(name string) (io.ReaderAt, int64, error)) (*Set, error) {
	s := &Set{}
	lines, err := extentLines(string(descriptor))
	if err == nil && len(lines) > maxExtents {
		err = fmt.Errorf("its disk has %d extents, at most %d are read: %s", len(lines), maxExtents, hint)
	}
	for i := 0; err == nil && i < len(lines); i++ {
		err = s.add(lines[i], open)
	}
	if err == nil && s.size == 0 {
		err = errors.New("its descriptor names no extent")
	}
	if err != nil {
		return nil, fmt.Errorf("vmdk image: %w", err)
	}
	return s, nil
}

// extentLine is `RW 4194304 SPARSE "disk-s001.vmdk"` (VMware Virtual Disk
// Format 5.0, "The Extent Description").
type extentLine struct {
	sectors    int64
	kind, name string
	offset     int64 // sectors of the file
}

// extentLines are the extents of a descriptor, which may not be that of a
// difference to another disk.
func extentLines(text string) ([]extentLine, error) {
	var lines []extentLine
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.TrimSpace(key) == "parentCID" && !strings.EqualFold(strings.TrimSpace(value), "ffffffff") {
			return nil, errors.New("it holds the changes to another disk only: merge them first, or " + hint)
		}
		before, rest, _ := strings.Cut(line, `"`)
		name, after, _ := strings.Cut(rest, `"`)
		words := strings.Fields(before)
		if len(words) < 3 || words[0] != "RW" && words[0] != "RDONLY" {
			continue
		}
		e := extentLine{kind: words[2], name: name}
		var err error
		if e.sectors, err = strconv.ParseInt(words[1], 10, 64); err == nil && strings.TrimSpace(after) != "" {
			e.offset, err = strconv.ParseInt(strings.Fields(after)[0], 10, 64)
		}
		if err != nil || e.sectors <= 0 || e.sectors > maxSize/sector || e.offset < 0 || e.offset > maxSize/sector {
			return nil, fmt.Errorf("an extent of it is %.60q", strings.TrimSpace(line))
		}
		lines = append(lines, e)
	}
	return lines, nil
}

func (s *Set) add(l extentLine, open func(name string) (io.ReaderAt, int64, error)) error {
	e := extent{at: s.size, size: l.sectors * sector, from: l.offset * sector}
	s.size += e.size
	if s.size > maxSize {
		return fmt.Errorf("a disk of more than %d bytes", int64(maxSize))
	}
	var err error
	switch l.kind {
	case "ZERO":
		s.extents = append(s.extents, e)
		return nil
	case "FLAT", "VMFS":
		e.file, e.fileSize, err = open(l.name)
		if err == nil && e.from > e.fileSize-e.size {
			err = errCut
		}
	case "SPARSE":
		if e.file, e.fileSize, err = open(l.name); err == nil {
			e.sparse, err = openSparse(e.file, e.fileSize)
		}
		if err == nil && e.sparse.size < e.size {
			err = fmt.Errorf("it has %d of %d bytes", e.sparse.size, e.size)
		}
	default:
		return fmt.Errorf("an extent of the kind %.20q: %s", l.kind, hint)
	}
	if err != nil {
		return fmt.Errorf("extent %.60q: %w", l.name, err)
	}
	s.extents = append(s.extents, e)
	return nil
}

// Size is that of the disk, in bytes.
func (s *Set) Size() int64 { return s.size }

// Close does nothing: the files are the caller's.
func (s *Set) Close() {}

// parts calls use for each piece of a range of the disk: n bytes at off of an
// extent.
func (s *Set) parts(off, n int64, use func(e *extent, off, n int64) error) error {
	i, found := slices.BinarySearchFunc(s.extents, off, func(e extent, off int64) int { return int(min(1, max(-1, e.at-off))) })
	if !found {
		i--
	}
	for ; n > 0 && i >= 0 && i < len(s.extents); i++ {
		e := &s.extents[i]
		in := off - e.at
		k := min(n, e.size-in)
		if err := use(e, in, k); err != nil {
			return fmt.Errorf("extent %d: %w", i+1, err)
		}
		off, n = off+k, n-k
	}
	if n > 0 {
		return io.EOF
	}
	return nil
}

// IsZero reports whether n bytes at off are known to be zero without having
// been read.
func (s *Set) IsZero(off, n int64) (bool, error) {
	zero := true
	err := s.parts(off, min(n, s.size-off), func(e *extent, off, n int64) error {
		switch {
		case e.sparse != nil:
			z, err := e.sparse.IsZero(off, n)
			zero = zero && z
			return err
		case e.file != nil:
			zero = false
		}
		return nil
	})
	return zero && err == nil, err
}

// ReadAt implements [io.ReaderAt] on the disk.
func (s *Set) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	err := s.parts(off, int64(len(p)), func(e *extent, off, n int64) (err error) {
		part := p[done : done+int(n)]
		switch {
		case e.sparse != nil:
			_, err = e.sparse.ReadAt(part, off)
		case e.file != nil:
			err = readFull(e.file, e.fileSize, part, e.from+off)
		default:
			clear(part)
		}
		if err == nil {
			done += len(part)
		}
		return err
	})
	return done, err
}

// checkDescriptor refuses what needs other files.
func checkDescriptor(r io.ReaderAt, fileSize int64, h []byte) error {
	at, n := le.U64(h, vmdkDesc), le.U64(h, vmdkDescSize)
	if at == 0 || n == 0 {
		return errors.New("it is one of several files of a disk: give the one that names them all, or " + hint)
	}
	if at > maxSize/sector || n > MaxVMDKDescriptor/sector {
		return fmt.Errorf("a descriptor of %d sectors at sector %d", n, at)
	}
	text := make([]byte, n*sector)
	if err := readFull(r, fileSize, text, int64(at)*sector); err != nil {
		return err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	lines, err := extentLines(string(text))
	if err == nil && len(lines) != 1 {
		err = fmt.Errorf("its disk has %d extents, and only one is in it: %s", len(lines), hint)
	}
	return err
}
