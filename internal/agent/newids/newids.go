// Package newids gives a freshly written disk identifiers of its own.
//
// These are the GUID or signature of its table, those of its partitions, and
// the UUIDs of its file systems, with every text that names them.
//
// That takes many writes, and half of them is a disk that does not find its
// root. So the gate of the flash is shut once more while they are made: LBA 0
// is zero, nothing boots from the disk, and a cut of power there means that the
// machine is flashed again under the same plan. The new identifiers are derived
// from the plan, so they are the same then.
//
// What cannot follow is left as it is, each with a note that says why: a clone
// that shares a UUID with another runs, one that looks for a UUID that is gone
// does not.
package newids

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/agent/identity"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/fsuuid"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// Job is the change of one disk after its flash.
type Job struct {
	// Plan is what the new identifiers are derived from: its ID.
	Plan  string
	Image *golden.Config // with Boot
	// Preserved are PARTUUIDs of partitions that are not the image's.
	Preserved []string
	// Dir is where one partition after the other is mounted.
	Dir string
	// Open takes the whole disk, while nothing of it is mounted.
	Open func() (*blockdev.Device, error)
	// Mount mounts a partition of the image at Dir.
	Mount func(ctx context.Context, p golden.Partition, writable bool) error
	Note  func(format string, args ...any)
}

// Change is a Job with what is known of it. One that failed is run again.
type Change struct {
	Job
	texts map[string]string // what files follow
	table map[string]string // of the partition table: DiskID and GUIDs
	files []fileSystem
	write []golden.Partition // with a text to change

	surveyed, closed, written, done bool
	gate                            []byte // LBA 0, while the disk may have zeros there
}

// fileSystem is one whose UUID changes.
type fileSystem struct {
	golden.Partition
	fresh string
}

// New prepares a change.
func New(j Job) *Change { return &Change{Job: j} }

// Replace puts new identifiers into a text; before [Change.Run] there are none.
func (c *Change) Replace(text string) string { return identity.IDs(c.texts).Replace(text) }

// Shut reports whether the disk cannot boot now: a Run has begun and failed.
func (c *Change) Shut() bool { return c.gate != nil }

// Left gives every identifier that a flash of the image under plan can have
// left in a partition table whose own is table; none when that is not of such a
// one. An agent that was cut off has not yet told anybody of them.
func Left(table, plan string, d golden.Disk) []string {
	if d.ID == "" || table != fsuuid.Derive(plan, d.ID) {
		return nil
	}
	ids := []string{table}
	for _, p := range d.Partitions {
		if p.PartUUID != "" {
			ids = append(ids, p.PartUUID, derivePart(plan, d.ID, p.PartUUID))
		}
	}
	return ids
}

// derivePart derives a PARTUUID: that of an MBR is its signature and a number.
func derivePart(plan, disk, part string) string {
	if number, ok := strings.CutPrefix(part, disk+"-"); ok {
		return fsuuid.Derive(plan, disk) + "-" + number
	}
	return fsuuid.Derive(plan, part)
}

// errNone says that nothing can be changed; the system is complete all the
// same.
var errNone = errors.New("no UUID is changed")

// Run changes what can be changed, and lets own write what else belongs to the
// new system below Dir, with the root mounted for writing: again, should own or
// the texts have failed before. When it returns nil, the disk boots.
func (c *Change) Run(ctx context.Context, own func() error) error {
	if c.done {
		return nil
	}
	if !c.surveyed {
		if err := c.survey(ctx); errors.Is(err, errNone) {
			c.Note("%v", err)
			c.texts, c.table, c.files, c.write = nil, nil, nil, nil
		} else if err != nil {
			return err
		}
		c.surveyed = true
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(c.table)+len(c.files) > 0 && !c.closed {
		if err := c.shut(); err != nil {
			return err
		}
		c.closed = true
	}
	// A file system with half of its new UUID may not mount any more.
	if !c.written {
		if err := c.writeTexts(ctx, own); err != nil {
			return err
		}
		c.written = true
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.gate != nil {
		if err := c.finish(); err != nil {
			return fmt.Errorf("%w: the disk does not boot before this has succeeded", err)
		}
		c.Note("own IDs: %s", c.summary())
	}
	c.done = true
	return nil
}

func (c *Change) summary() string {
	names := []string{"the partition table"}
	if len(c.table) == 0 {
		names = nil
	}
	for _, f := range c.files {
		names = append(names, fmt.Sprintf("%s on partition %d", f.FileSystem, f.Number))
	}
	return strings.Join(names, ", ")
}

// drop leaves an identifier as it is. An MBR has one for all of its partitions.
func (c *Change) drop(id, why string) {
	id = strings.ToLower(id)
	if _, ok := c.texts[id]; !ok {
		return
	}
	c.Note("%s stays as in the image: %s", id, why)
	delete(c.texts, id)
	delete(c.table, id)
	c.files = slices.DeleteFunc(c.files, func(f fileSystem) bool { return strings.EqualFold(f.FSUUID, id) })
	if disk, _, ok := strings.Cut(id, "-"); ok && c.table[disk] != "" {
		delete(c.table, disk)
		maps.DeleteFunc(c.texts, func(old, _ string) bool { return strings.HasPrefix(old, disk+"-") && len(old) == len(id) })
	}
}

// writeTexts mounts what has texts, the root in any case.
func (c *Change) writeTexts(ctx context.Context, own func() error) error {
	root, ok := c.Image.RootPartition()
	if !ok {
		root.FileSystem = c.Image.Boot.Root.FileSystem // the whole disk
	}
	volumes := append([]golden.Partition{root}, slices.DeleteFunc(slices.Clone(c.write),
		func(p golden.Partition) bool { return p.Number == root.Number })...)
	for _, p := range volumes {
		if err := c.Mount(ctx, p, true); err != nil {
			return err
		}
		var err error
		if p.Number == root.Number {
			err = own()
		}
		if err == nil {
			_, err = identity.WriteIDs(c.Dir, c.texts)
		}
		if err := errors.Join(err, mount.Unmount(c.Dir)); err != nil {
			return err
		}
	}
	return nil
}

// disk is the disk as it is behind its gate.
type disk struct {
	io.ReaderAt
	lba0 []byte
}

// ReadAt implements [io.ReaderAt].
func (d disk) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(p, off)
	if off >= 0 && off < int64(len(d.lba0)) {
		copy(p[:n], d.lba0[off:])
	}
	return n, err
}

// take opens the disk. What the cache still has of its partitions is older than
// what was written to them while they were mounted.
func (c *Change) take() (*blockdev.Device, error) {
	d, err := c.Open()
	if err != nil {
		return nil, err
	}
	if err := d.DropCache(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// shut makes the disk one that nothing boots from.
func (c *Change) shut() error {
	d, err := c.take()
	if err != nil {
		return err
	}
	defer d.Close()
	if c.gate == nil { // or this was begun before
		lba0 := make([]byte, d.SectorSize())
		if _, err := d.ReadAt(lba0, 0); err != nil {
			return fmt.Errorf("reading LBA 0: %w", err)
		}
		c.gate = lba0
	}
	if _, err := d.WriteAt(blockdev.AlignedBuffer(len(c.gate)), 0); err != nil {
		return err
	}
	return d.Flush()
}

// finish writes the new identifiers, reads them back and opens the gate.
func (c *Change) finish() error {
	d, err := c.take()
	if err != nil {
		return err
	}
	defer d.Close()
	for _, f := range c.files {
		if err := c.rename(d, f); err != nil {
			return fmt.Errorf("partition %d: %w", f.Number, err)
		}
	}
	plan, err := partition.NewIDs(disk{d, c.gate}, d.Size(), d.SectorSize(), c.fresh)
	if err != nil {
		return err
	}
	lba0 := blockdev.AlignedBuffer(len(c.gate))
	copy(lba0, c.gate)
	for _, e := range plan.Edits {
		if e.Offset == 0 {
			copy(lba0, e.Data) // the last of all writes
			continue
		}
		if _, err := d.WriteAt(e.Data, e.Offset); err != nil {
			return err
		}
		if err := d.Flush(); err != nil {
			return err
		}
	}
	if err := c.verify(d, lba0); err != nil {
		return err
	}
	if _, err := d.WriteAt(lba0, 0); err != nil {
		return err
	}
	if err := d.Flush(); err != nil {
		return err
	}
	if err := c.verify(d, nil); err != nil {
		return err
	}
	c.gate = nil
	return nil
}

// fresh is the new identifier in the table for one that is there.
func (c *Change) fresh(old string) string {
	if id, ok := c.table[old]; ok {
		return id
	}
	return old
}

func (c *Change) rename(d *blockdev.Device, f fileSystem) error {
	edits, err := fsuuid.Change(f.FileSystem, io.NewSectionReader(d, f.Start, f.Size), f.Size, f.fresh)
	if err != nil {
		return err
	}
	for _, e := range edits {
		if _, err := d.WriteAt(e.Data, f.Start+e.Offset); err != nil {
			return err
		}
	}
	return d.Flush()
}

// errReadBack says that the disk does not hold what was written to it.
var errReadBack = errors.New("the new IDs do not read back")

// verify reads everything back past the cache; lba0 stands for what is yet to
// be written.
func (c *Change) verify(d *blockdev.Device, lba0 []byte) error {
	back, err := d.OpenReadBack()
	if err != nil {
		return err
	}
	defer back.Close()
	plan, err := partition.NewIDs(disk{back, lba0}, d.Size(), d.SectorSize(), c.fresh)
	if err != nil {
		return err
	}
	if len(plan.Edits) > 0 {
		return errReadBack
	}
	for _, f := range c.files {
		id, err := fsuuid.Read(f.FileSystem, io.NewSectionReader(back, f.Start, f.Size), f.Size)
		if err == nil && id != f.fresh {
			err = errReadBack
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", f.Number, err)
		}
	}
	return nil
}
