package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"

	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/golden/inspect"
)

// freeSpace is what may be dropped of a disk: the free blocks of every file
// system whose maps were read to the end once, without a doubt.
type freeSpace []freeVolume

type freeVolume struct {
	start int64 // of the partition, bytes
	fs    *fsread.FS
}

// lookForFree reads the maps of all file systems on the disk. What it does not
// understand it leaves alone, and says so where the kind would be known.
func lookForFree(ctx context.Context, disk io.ReaderAt, size int64) (freeSpace, []inspect.Note, error) {
	var found freeSpace
	var notes []inspect.Note
	for _, p := range places(disk, size) {
		fsys, err := openMapped(io.NewSectionReader(disk, p.Start, p.Size), p.Partition)
		if err == nil && fsys != nil {
			if err = p.alone; err == nil {
				err = readToTheEnd(ctx, fsys)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err != nil:
			notes = append(notes, inspect.Note{What: fmt.Sprintf("free space kept: %s: %v", p.name, err)})
		case fsys != nil:
			found = append(found, freeVolume{p.Start, fsys})
		}
	}
	return found, notes, nil
}

// openMapped opens a file system whose maps can be read; it is nil for any
// other content. Where anything but the maps speaks for another user of the
// partition, that is an error.
func openMapped(r io.ReaderAt, p partition.Partition) (*fsread.FS, error) {
	sig, err := probe.Find(r, p.Size)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"ext2", "ext3", "ext4", "xfs"}, sig.Kind) {
		return nil, nil
	}
	if err := contradiction(sig, p); err != nil {
		return nil, err
	}
	return fsread.Open(r, p.Size)
}

// contradiction says what speaks against the partition being the file system's
// alone.
func contradiction(sig probe.Signature, p partition.Partition) error {
	if len(sig.Others) > 0 {
		return fmt.Errorf("besides %s it has the signature of %s", sig.Kind, strings.Join(sig.Others, " and of "))
	}
	if p.Type != "" && !partition.LinuxData(p) {
		return fmt.Errorf("it is %s, but its type (%s) is not that of a Linux file system", sig.Kind, cmp.Or(p.TypeName, p.Type))
	}
	if word := foreignWord(p.Name); word != "" {
		return fmt.Errorf("it is %s, but its name says %s", sig.Kind, word)
	}
	return nil
}

// foreignWords are names of what a partition holds in the place of a file
// system with maps; tools put them into the partition's name.
var foreignWords = []string{
	"zfs", "zpool", "rpool", "bpool", "lvm", "luks", "crypt", "raid", "mdraid", "swap", "bcache", "bcachefs",
	"ceph", "osd", "stratis", "vdo", "drbd", "vmfs", "btrfs", "ntfs", "bitlocker",
}

func foreignWord(name string) string {
	for word := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if slices.Contains(foreignWords, word) {
			return word
		}
	}
	return ""
}

// readToTheEnd believes the maps only as a whole.
func readToTheEnd(ctx context.Context, fsys *fsread.FS) error {
	for _, err := range fsys.Free() {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// place is a partition, or the whole disk, that may hold a file system.
type place struct {
	partition.Partition
	name  string
	alone error // why it is not the only one there
}

// places returns the partitions in the order of the disk. A table that cannot
// be read gives none: inspection says what is wrong with it.
func places(disk io.ReaderAt, size int64) []place {
	sector, ok := partition.DetectSectorSize(disk, size)
	if !ok {
		sector = 512
	}
	table, err := partition.Read(disk, size, sector)
	if err != nil {
		return nil
	}
	if len(table.Partitions) == 0 {
		return []place{{partition.Partition{Size: size}, "the disk", nil}}
	}
	var list []place
	for _, p := range table.Partitions {
		if partition.Extended(p.Type) {
			continue // has the boot records of logical partitions, and those themselves
		}
		if p.Start >= 0 && p.Size > 0 && p.Start <= size && p.Size <= size-p.Start {
			list = append(list, place{p, fmt.Sprintf("partition %d", p.Number), nil})
		}
	}
	slices.SortStableFunc(list, func(a, b place) int { return cmp.Compare(a.Start, b.Start) })
	furthest := 0 // the one that ends last
	for i := 1; i < len(list); i++ {
		if list[i].Start < list[furthest].Start+list[furthest].Size {
			err := errors.New("it overlaps another partition")
			list[i].alone, list[furthest].alone = err, err
		}
		if list[i].Start+list[i].Size > list[furthest].Start+list[furthest].Size {
			furthest = i
		}
	}
	return list
}

// all yields the free ranges of the disk in order.
func (f freeSpace) all() iter.Seq2[fsread.Extent, error] {
	return func(yield func(fsread.Extent, error) bool) {
		for _, v := range f {
			for e, err := range v.fs.Free() {
				e.Start += v.start
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}
