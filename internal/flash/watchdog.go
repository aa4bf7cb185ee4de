package flash

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// StuckError says that the disk has not answered a call for longer than the
// job's DiskPatience. Nothing is written any more once it was returned.
type StuckError struct {
	Op     string // "writing", "zeroing", "flushing" or "reading"
	Offset int64  // bytes
	Length int64  // bytes
	For    time.Duration
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("the disk has not answered for %v, %s %d bytes at byte %d: look at the kernel's log and the disk's cabling, "+
		"and cycle the power",
		e.For.Round(time.Second), e.Op, e.Length, e.Offset)
}

// watchedDisk keeps a record of the calls that are under way. A call into a
// dead disk cannot be ended, only given up: it never returns.
type watchedDisk struct {
	Disk
	mu    sync.Mutex
	calls []call // as many as were ever under way at once
	stuck error  // set once: from then on every call is refused
}

type call struct {
	op          string // empty when none is under way
	off, length int64
	since       time.Time
}

func newWatchedDisk(d Disk) *watchedDisk { return &watchedDisk{Disk: d} }

// do makes one call under watch.
func (d *watchedDisk) do(op string, off, length int64, run func() error) error {
	slot, err := d.begin(call{op, off, length, time.Now()})
	if err != nil {
		return err
	}
	defer d.end(slot)
	return run()
}

func (d *watchedDisk) begin(c call) (slot int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck != nil {
		return 0, d.stuck
	}
	for slot := range d.calls {
		if d.calls[slot].op == "" {
			d.calls[slot] = c
			return slot, nil
		}
	}
	d.calls = append(d.calls, c)
	return len(d.calls) - 1, nil
}

func (d *watchedDisk) end(slot int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[slot].op = ""
}

// age returns how long the oldest call has been under way, 0 if none is.
func (d *watchedDisk) age() time.Duration {
	_, age := d.oldest()
	return age
}

// oldest returns the oldest call and how long it has been under way.
func (d *watchedDisk) oldest() (oldest call, age time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c.op == "" {
			continue
		}
		if t := time.Since(c.since); oldest.op == "" || t > age {
			oldest, age = c, t
		}
	}
	return oldest, age
}

// watch returns an error when a call has been under way for longer than
// patience, and nil when ctx is done.
func (d *watchedDisk) watch(ctx context.Context, patience time.Duration) error {
	t := time.NewTicker(max(patience/20, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if c, age := d.oldest(); age > patience {
				return d.giveUp(&StuckError{c.op, c.off, c.length, age})
			}
		}
	}
}

func (d *watchedDisk) giveUp(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = err
	return err
}

func (d *watchedDisk) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.do("writing", off, int64(len(p)), func() error {
		n, err = d.Disk.WriteAt(p, off)
		return err
	})
	return n, err
}

func (d *watchedDisk) ZeroRange(off, n int64) error {
	return d.do("zeroing", off, n, func() error { return d.Disk.ZeroRange(off, n) })
}

func (d *watchedDisk) Flush() error {
	return d.do("flushing", 0, d.Size(), d.Disk.Flush)
}

func (d *watchedDisk) OpenReadBack() (medium blockdev.ReadBack, err error) {
	err = d.do("flushing", 0, d.Size(), func() error {
		medium, err = d.Disk.OpenReadBack()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &watchedReadBack{medium, d}, nil
}

type watchedReadBack struct {
	medium blockdev.ReadBack
	disk   *watchedDisk
}

func (r *watchedReadBack) ReadAt(p []byte, off int64) (n int, err error) {
	err = r.disk.do("reading", off, int64(len(p)), func() error {
		n, err = r.medium.ReadAt(p, off)
		return err
	})
	return n, err
}

func (r *watchedReadBack) Close() error { return r.medium.Close() }
