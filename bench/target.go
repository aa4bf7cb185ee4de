package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/test/lab/images"
)

// target is the disk that tools write to: a loop device over a file all of
// whose blocks were allocated and written before. The loop device reads and
// writes the file past the page cache, so that a flush is one of the disk below
// and nothing that a tool wrote waits in memory when its time is taken.
type target struct {
	size  int64
	file  *os.File // the backing file
	whole *images.Loop
	root  *images.Loop // only the root partition
	dir   string
}

// copyBlock is how much is read, compared or written at a time; copiers is how
// many do that at once.
const (
	copyBlock = 4 << 20
	copiers   = 4
)

// newTarget makes the disk in a directory of its own below dir.
func newTarget(ctx context.Context, dir string, size int64) (*target, error) {
	work, err := os.MkdirTemp(dir, "target-")
	if err != nil {
		return nil, err
	}
	t := &target{size: size, dir: work}
	if err := t.attach(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *target) attach(ctx context.Context) (err error) {
	if t.file, err = os.Create(filepath.Join(t.dir, "disk")); err != nil {
		return err
	}
	if err := unix.Fallocate(int(t.file.Fd()), 0, 0, t.size); err != nil {
		return fmt.Errorf("allocate %d bytes for the target: %w", t.size, err)
	}
	if t.whole, err = images.AttachLoop(t.file.Name(), 0, 0); err != nil {
		return err
	}
	offset, size := images.WorkSpec().RootExtent()
	if t.root, err = images.AttachLoop(t.file.Name(), offset, size); err != nil {
		return err
	}
	if err := errors.Join(t.whole.DirectIO(), t.root.DirectIO()); err != nil {
		return err
	}
	return t.fill(ctx, full, "")
}

// Close gives the disk back.
func (t *target) Close() error {
	var err error
	for _, loop := range []*images.Loop{t.root, t.whole} {
		if loop != nil {
			err = errors.Join(err, loop.Close())
		}
	}
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}

// fill gives the disk the content that a kind of work begins with: noise, or
// the image at first.
func (t *target) fill(ctx context.Context, work workName, first string) error {
	noise := make([]byte, copyBlock)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	var image *os.File
	if work == delta {
		var err error
		if image, err = os.Open(first); err != nil {
			return err
		}
		defer image.Close()
	}
	err := t.each(ctx, unix.O_WRONLY, func(disk *os.File, buf []byte, offset int64) error {
		if image != nil {
			if _, err := image.ReadAt(buf, offset); err != nil {
				return err
			}
		} else {
			copy(buf, noise)
		}
		_, err := disk.WriteAt(buf, offset)
		return err
	})
	if err != nil {
		return fmt.Errorf("fill the target: %w", err)
	}
	return t.settle()
}

// settle flushes the disk and drops what the kernel keeps of it in memory. The
// stored forms stay there, as on a server that serves many.
func (t *target) settle() error {
	err := t.flush()
	for _, loop := range []*images.Loop{t.whole, t.root} {
		err = errors.Join(err, loop.DropCache())
	}
	return errors.Join(err, unix.Fadvise(int(t.file.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// flush returns when all that was written is on the disk: through the devices,
// then the file.
func (t *target) flush() error {
	return errors.Join(t.whole.Sync(), t.root.Sync(), t.file.Sync())
}

// verdict says how the target compares with an image.
type verdict struct {
	// all that the image's file system uses, and all that lies outside of it, is
	// there
	inUse bool
	bytes bool // every byte of the disk is the image's
}

// compare reads the target past the page cache.
func (t *target) compare(ctx context.Context, image string, used *usage) (verdict, error) {
	ref, err := os.Open(image)
	if err != nil {
		return verdict{}, err
	}
	defer ref.Close()
	var mu sync.Mutex
	v := verdict{inUse: true, bytes: true}
	wants := sync.Pool{New: func() any { b := make([]byte, copyBlock); return &b }}
	err = t.each(ctx, unix.O_RDONLY, func(disk *os.File, got []byte, offset int64) error {
		want := wants.Get().(*[]byte)
		defer wants.Put(want)
		if _, err := disk.ReadAt(got, offset); err != nil {
			return err
		}
		if _, err := ref.ReadAt((*want)[:len(got)], offset); err != nil {
			return err
		}
		if bytes.Equal(got, (*want)[:len(got)]) {
			return nil
		}
		inUse := used.equal(got, (*want)[:len(got)], offset)
		mu.Lock()
		defer mu.Unlock()
		v.bytes = false
		v.inUse = v.inUse && inUse
		return nil
	})
	if err != nil {
		return verdict{}, fmt.Errorf("compare the target: %w", err)
	}
	return v, nil
}

// each calls do for every block of the disk, several at once, with an aligned
// buffer of the block's size.
func (t *target) each(ctx context.Context, mode int, do func(disk *os.File, buf []byte, offset int64) error) error {
	disk, err := os.OpenFile(t.whole.Path, mode|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	errs := make([]error, copiers)
	var wg sync.WaitGroup
	for i := range copiers {
		wg.Go(func() {
			buf := aligned(copyBlock)
			for offset := int64(i) * copyBlock; offset < t.size && errs[i] == nil; offset += copiers * copyBlock {
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = do(disk, buf[:min(copyBlock, t.size-offset)], offset)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// aligned gives a buffer that direct I/O accepts.
func aligned(n int) []byte {
	const page = 4096
	buf := make([]byte, n+page)
	skip := int(-uintptr(unsafe.Pointer(&buf[0])) % page)
	return buf[skip:][:n:n]
}
