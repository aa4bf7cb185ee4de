package blockdev

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// zeroStep bounds one system call, so that a caller who zeroes in pieces is
// never far from the end of one, and a kernel that must write the zeros itself
// does not hold the disk for minutes.
const zeroStep = 1 << 30

// zeroMethod is one way to zero an aligned range.
type zeroMethod struct {
	name string
	zero func(d *Device, off, n int64) error
}

// zeroMethods are the ways in the order of preference. Discard is not among
// them: it promises nothing about what is read afterwards.
func zeroMethods(block bool) []zeroMethod {
	write := zeroMethod{"write", writeZeros}
	if block {
		return []zeroMethod{{"blkzeroout", zeroOut}, write}
	}
	return []zeroMethod{{"punch-hole", punch}, {"zero-range", zeroRange}, write}
}

// ZeroRange makes n bytes from off on read as zeros, by the fastest way that
// the target offers: BLKZEROOUT for disks, which the kernel itself completes
// with writes where the disk has no command for it; a hole or
// FALLOC_FL_ZERO_RANGE for files; else by writing zeros. Like a write, it is
// safe only after [Device.Flush]. Large ranges take as long as the disk needs:
// callers that must be able to stop pass them in pieces.
func (d *Device) ZeroRange(off, n int64) error {
	if err := d.bounds(off, n); err != nil {
		return fmt.Errorf("zeroing %s: %w", d.path, err)
	}
	// The fast ways work in whole sectors. What is left at either end is written.
	align := int64(d.dioSize)
	head := min((align-off%align)%align, n)
	tail := (off + n) % align
	if head == n {
		tail = 0
	}
	middle := n - head - tail
	if err := writeZeros(d, off, head); err != nil {
		return err
	}
	for done := int64(0); done < middle; {
		step := min(middle-done, zeroStep)
		if err := d.zeroAligned(off+head+done, step); err != nil {
			return err
		}
		done += step
	}
	return writeZeros(d, off+n-tail, tail)
}

// zeroAligned tries the methods in turn and remembers those that the target
// refuses. Any error leads to the next: if the disk is failing, the write that
// comes last says so.
func (d *Device) zeroAligned(off, n int64) error {
	methods := zeroMethods(d.id.block)
	d.mu.Lock()
	skip := d.zeroSkip
	d.mu.Unlock()
	for i := skip; ; i++ {
		m := methods[i]
		err := m.zero(d, off, n)
		d.mu.Lock()
		if err == nil {
			d.zeroHow = m.name
		} else if i+1 < len(methods) && refused(err) {
			d.zeroSkip = max(d.zeroSkip, i+1)
		}
		d.mu.Unlock()
		if err == nil || i+1 == len(methods) {
			return err
		}
	}
}

// refused tells a target that cannot from one that failed.
func refused(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// ZeroMethod tells how the last aligned range was zeroed: "blkzeroout",
// "punch-hole", "zero-range" or "write"; empty before the first.
func (d *Device) ZeroMethod() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.zeroHow
}

func zeroOut(d *Device, off, n int64) error { return d.ops.zeroOut(d.file, off, n) }

// punch keeps a file that stands for a disk sparse.
func punch(d *Device, off, n int64) error {
	return d.ops.fallocate(d.file, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func zeroRange(d *Device, off, n int64) error {
	return d.ops.fallocate(d.file, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func writeZeros(d *Device, off, n int64) error {
	const step = 1 << 20
	if n == 0 {
		return nil
	}
	zeros := AlignedBuffer(int(min(n, step)))
	for n > 0 {
		p := zeros[:min(n, step)]
		if _, err := d.WriteAt(p, off); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}
