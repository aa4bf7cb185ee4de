package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/test/lab/images"
)

// usage knows which blocks of an image hold something: all but those that its
// ext4 says are free.
type usage struct {
	start int64 // of the file system, bytes
	block int64 // bytes
	free  []bool
}

// readUsage asks dumpe2fs: a judge that is neither gild nor a peer.
func readUsage(ctx context.Context, image string) (*usage, error) {
	offset, size := images.WorkSpec().RootExtent()
	loop, err := images.AttachLoop(image, offset, size)
	if err != nil {
		return nil, err
	}
	defer loop.Close()
	out, err := output(ctx, "dumpe2fs", loop.Path)
	if err != nil {
		return nil, err
	}
	u, err := parseDumpe2fs(out)
	if err != nil {
		return nil, fmt.Errorf("free blocks of %s: %w", image, err)
	}
	u.start = offset
	return u, nil
}

// parseDumpe2fs reads dumpe2fs(8)'s report: "Block count:", "Block size:" and,
// per group, "Free blocks: 5-9, 12".
func parseDumpe2fs(report []byte) (*usage, error) {
	u := &usage{}
	lines := bufio.NewScanner(bytes.NewReader(report))
	lines.Buffer(nil, 16<<20) // a group may have many free runs
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		value = strings.TrimSpace(value)
		var err error
		switch name {
		case "Block count":
			var n int
			n, err = strconv.Atoi(value)
			u.free = make([]bool, n)
		case "Block size":
			u.block, err = strconv.ParseInt(value, 10, 64)
		case "Free blocks":
			if !strings.HasPrefix(lines.Text(), " ") {
				continue // of the whole file system: a number
			}
			err = u.markFree(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%.80q: %w", lines.Text(), err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if u.block <= 0 || len(u.free) == 0 {
		return nil, fmt.Errorf("no block size or no block count in the report")
	}
	return u, nil
}

func (u *usage) markFree(runs string) error {
	for run := range strings.SplitSeq(runs, ",") {
		run = strings.TrimSpace(run)
		if run == "" {
			continue
		}
		first, last, ok := strings.Cut(run, "-")
		if !ok {
			last = first
		}
		from, err := strconv.Atoi(first)
		if err != nil {
			return err
		}
		to, err := strconv.Atoi(last)
		if err != nil {
			return err
		}
		if from < 0 || to < from || to >= len(u.free) {
			return fmt.Errorf("blocks %d to %d of %d", from, to, len(u.free))
		}
		for i := from; i <= to; i++ {
			u.free[i] = true
		}
	}
	return nil
}

// isFree reports that the byte at offset of the disk belongs to no file and to
// no structure.
func (u *usage) isFree(offset int64) bool {
	block := (offset - u.start) / u.block
	return offset >= u.start && block < int64(len(u.free)) && u.free[block]
}

// equal reports that two pieces of a disk from offset, a multiple of the block
// size, differ in free blocks only.
func (u *usage) equal(a, b []byte, offset int64) bool {
	for at := int64(0); at < int64(len(a)); at += u.block {
		end := min(at+u.block, int64(len(a)))
		if !bytes.Equal(a[at:end], b[at:end]) && !u.isFree(offset+at) {
			return false
		}
	}
	return true
}

// bytesInUse is the size of all blocks that are not free, bytes.
func (u *usage) bytesInUse() (n int64) {
	for _, free := range u.free {
		if !free {
			n += u.block
		}
	}
	return n
}

// copyUsed copies a disk image; what is free becomes a hole, what is in use is
// written also where it is zeros.
func (u *usage) copyUsed(ctx context.Context, from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	buf := make([]byte, copyBlock)
	for offset := int64(0); offset < info.Size(); {
		n := u.block
		if !u.isFree(offset) {
			for n < copyBlock && offset+n < info.Size() && !u.isFree(offset+n) {
				n += u.block
			}
			n = min(n, info.Size()-offset)
			if _, err := src.ReadAt(buf[:n], offset); err != nil {
				return err
			}
			if _, err := dst.WriteAt(buf[:n], offset); err != nil {
				return err
			}
		}
		if offset += n; ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(dst.Truncate(info.Size()), dst.Sync())
}

// changedBytes counts the bytes of all blocks of 4 KiB that differ between two
// images of one size.
func changedBytes(ctx context.Context, first, second string) (changed int64, err error) {
	const block = 4 << 10
	a, err := os.Open(first)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	b, err := os.Open(second)
	if err != nil {
		return 0, err
	}
	defer b.Close()
	x, y := make([]byte, copyBlock), make([]byte, copyBlock)
	for ctx.Err() == nil {
		n, err := io.ReadFull(a, x)
		if n == 0 {
			return changed, nil
		}
		if _, short := io.ReadFull(b, y[:n]); short != nil {
			return 0, fmt.Errorf("compare %s and %s: %w", first, second, short)
		}
		for at := 0; at < n; at += block {
			if end := min(at+block, n); !bytes.Equal(x[at:end], y[at:end]) {
				changed += int64(end - at)
			}
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return 0, err
		}
	}
	return 0, context.Cause(ctx)
}
