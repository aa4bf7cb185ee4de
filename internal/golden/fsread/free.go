package fsread

import (
	"iter"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// Extent is a range of a partition, in bytes.
type Extent struct{ Start, Length int64 }

// End is the first byte behind the extent.
func (e Extent) End() int64 { return e.Start + e.Length }

// Free yields what the maps of an ext2, ext3, ext4 or XFS file system call
// free: in the order of the partition, neither overlapping nor adjacent. The
// maps are held against their checksums, their own counts and the places of the
// metadata. An error ends the sequence and means that nothing yielded before it
// may be believed either, so a caller goes through all of it once before it
// uses any: the sequence may be run again, and takes memory for one group, not
// for the disk.
//
// It is an error when the file system is [FS.Dirty], for its log may hold
// changes of the maps; other kinds than these give an [*UnsupportedError]. A
// few free blocks are never yielded, as those that XFS has set aside for its
// own trees.
func (f *FS) Free() iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var joined Extent
		on := true
		emit := func(start, length int64) bool {
			if length > 0 && start == joined.End() {
				joined.Length += length
				return true
			}
			if joined.Length > 0 {
				on = yield(joined, nil)
			}
			joined = Extent{start, length}
			return on
		}
		err := f.free(emit)
		switch {
		case !on:
		case err != nil:
			yield(Extent{}, err)
		case joined.Length > 0:
			yield(joined, nil)
		}
	}
}

// free gives emit the free ranges in order until it returns false.
func (f *FS) free(emit func(start, length int64) bool) error {
	m, ok := f.vol.(volume.FreeMap)
	switch {
	case !ok:
		return &UnsupportedError{Kind: f.Kind(), Reason: "its free space is not looked for"}
	case f.Dirty():
		return volume.Corrupt("not cleanly unmounted")
	}
	return m.Free(emit)
}
