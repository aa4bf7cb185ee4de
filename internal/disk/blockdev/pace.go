package blockdev

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// paceBytes is how much of what was written through the page cache may be on
// its way to the disk. Without a bound the cache would take an image at the
// speed of memory, and the flush at the end would take all the time that there
// is, with nothing to show for progress.
const paceBytes = 32 << 20

// pacer keeps buffered writes at the speed of the disk. Safe for concurrent
// use.
type pacer struct {
	mu      sync.Mutex
	started []Range // being written back, oldest first
	bytes   int64
}

// wrote starts the write-back of a range, and waits for older ones until no
// more than paceBytes are on their way. What it waited for is dropped from the
// cache: nobody reads it from there.
func (p *pacer) wrote(o ops, f *os.File, off, n int64) error {
	if err := o.syncRange(f, off, n, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return pacing(err)
	}
	for _, r := range p.push(Range{off, n}) {
		const wait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		if err := o.syncRange(f, r.Offset, r.Length, wait); err != nil {
			return pacing(err)
		}
		// Advice: the flush at the end does not depend on it.
		_ = unix.Fadvise(int(f.Fd()), r.Offset, r.Length, unix.FADV_DONTNEED)
	}
	return nil
}

// push adds r and takes out the oldest ranges that are over the bound.
func (p *pacer) push(r Range) (over []Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = append(p.started, r)
	p.bytes += r.Length
	for p.bytes > paceBytes && len(p.started) > 1 {
		over = append(over, p.started[0])
		p.bytes -= p.started[0].Length
		p.started = p.started[1:]
	}
	return over
}

// pacing makes an error of sync_file_range(2) one of the write. A target that
// does not know the call is not paced.
func pacing(err error) error {
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ESPIPE) {
		return nil
	}
	return fmt.Errorf("writing back: %w", err)
}
