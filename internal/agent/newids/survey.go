package newids

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/agent/identity"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/fsuuid"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// survey finds what there is to change and what must stay. It changes nothing
// but what a mount does: a journal is recovered.
func (c *Change) survey(ctx context.Context) error {
	c.texts, c.table, c.files, c.write = map[string]string{}, map[string]string{}, nil, nil
	if err := c.collect(); err != nil {
		return err
	}
	if err := c.search(ctx); err != nil {
		return err
	}
	return c.sort()
}

// collect reads the identifiers that are on the disk.
func (c *Change) collect() error {
	d, err := c.take()
	if err != nil {
		return err
	}
	defer d.Close()
	t, err := partition.Read(d, d.Size(), d.SectorSize())
	if err != nil {
		return err
	}
	if t.Scheme == partition.None {
		return fmt.Errorf("%w: the disk has no partition table", errNone)
	}
	c.table[t.DiskID] = fsuuid.Derive(c.Plan, t.DiskID)
	for _, p := range t.Partitions {
		if slices.Contains(c.Preserved, p.GUID) {
			continue
		}
		id := derivePart(c.Plan, t.DiskID, p.GUID)
		c.texts[p.GUID] = id
		if t.Scheme == partition.GPT {
			c.table[p.GUID] = id
		}
		if f, ok := c.fileSystem(d, p); ok {
			c.texts[strings.ToLower(f.FSUUID)] = f.fresh
			c.files = append(c.files, f)
		}
	}
	for _, p := range t.Partitions {
		if slices.Contains(c.Preserved, p.GUID) {
			c.dropShared(d, p)
		}
	}
	return nil
}

// fileSystem is what the image has in a partition, as it is on the disk now.
func (c *Change) fileSystem(d *blockdev.Device, p partition.Partition) (fileSystem, bool) {
	i := slices.IndexFunc(c.Image.Disk.Partitions, func(q golden.Partition) bool { return q.Number == p.Number })
	if i < 0 || c.Image.Disk.Partitions[i].FileSystem == "" {
		return fileSystem{}, false
	}
	f := fileSystem{Partition: c.Image.Disk.Partitions[i]}
	f.Start, f.Size = p.Start, p.Size
	id, err := fsuuid.Read(f.FileSystem, io.NewSectionReader(d, p.Start, p.Size), p.Size)
	if err != nil {
		c.Note("partition %d stays as in the image: %v", p.Number, err)
	}
	if err != nil || id == "" {
		return f, false
	}
	f.FSUUID, f.fresh = id, fsuuid.Derive(c.Plan, id)
	return f, true
}

// dropShared leaves a UUID that a partition which was kept has too: texts mean
// either of the two.
func (c *Change) dropShared(d *blockdev.Device, p partition.Partition) {
	for _, kind := range []string{"ext4", "xfs", "vfat", "swap"} {
		if id, err := fsuuid.Read(kind, io.NewSectionReader(d, p.Start, p.Size), p.Size); err == nil {
			c.drop(id, fmt.Sprintf("partition %d, which was kept, has it too", p.Number))
		}
	}
}

// search looks into every file system that can hold the boot loader's texts.
func (c *Change) search(ctx context.Context) error {
	held := map[string]string{}
	for _, p := range c.volumes() {
		if err := c.Mount(ctx, p, false); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%w: partition %d may name the others and is not readable: %w", errNone, p.Number, err)
		}
		found, err := identity.FindIDs(c.Dir, c.texts)
		if err := errors.Join(err, mount.Unmount(c.Dir)); err != nil {
			return err
		}
		for id, program := range found.Held {
			held[id] = program
		}
		if len(found.Texts) > 0 {
			c.write = append(c.write, p)
		}
	}
	for id, program := range held {
		c.drop(id, program+" has it built in")
	}
	return nil
}

// volumes are the image's partitions that Linux mounts.
func (c *Change) volumes() []golden.Partition {
	var all []golden.Partition
	for _, p := range c.Image.Disk.Partitions {
		if slices.Contains(c.Preserved, p.PartUUID) {
			continue
		}
		switch p.FileSystem {
		case "ext2", "ext3", "ext4", "xfs", "vfat":
			all = append(all, p)
		default:
			if p.Number == c.Image.Boot.Root.Partition {
				all = append(all, p)
			}
		}
	}
	return all
}

// sort drops what cannot be changed.
func (c *Change) sort() error {
	d, err := c.take()
	if err != nil {
		return err
	}
	defer d.Close()
	for _, f := range slices.Clone(c.files) {
		// An initrd waits for the swap space to resume from, half a minute where
		// it is gone, and what is inside of an initrd is not rewritten.
		if f.FileSystem == "swap" && len(c.Image.Boot.Initrds) > 0 {
			c.drop(f.FSUUID, "the initrd may look for this swap space")
			continue
		}
		_, err := fsuuid.Change(f.FileSystem, io.NewSectionReader(d, f.Start, f.Size), f.Size, f.fresh)
		var fixed *fsuuid.FixedError
		switch {
		case errors.As(err, &fixed):
			c.drop(f.FSUUID, fmt.Sprintf("partition %d: %v", f.Number, err))
		case err != nil:
			return fmt.Errorf("partition %d: %w", f.Number, err)
		}
	}
	return nil
}
