package fsread_test

import (
	"strings"
	"testing"
)

// TestExt reads what mke2fs makes of a tree, in every layout that changes where
// things are.
func TestExt(t *testing.T) {
	t.Parallel()
	small, large := sourceTree(t, 300), ""
	if !testing.Short() {
		large = sourceTree(t, 3200)
	}
	for _, test := range []struct {
		name, kind string
		args       string
	}{
		{"large-default", "ext4", "-t ext4"},
		{"large-1k", "ext4", "-t ext4 -b 1024"},
		{"large-ext3", "ext3", "-t ext3"},
		{"2k", "ext4", "-t ext4 -b 2048"},
		{"inline_data", "ext4", "-t ext4 -O inline_data"},
		{"inline_data-1k-inodes", "ext4", "-t ext4 -O inline_data -I 1024"},
		{"no-metadata_csum", "ext4", "-t ext4 -O ^metadata_csum"},
		{"no-64bit", "ext4", "-t ext4 -O ^64bit"},
		{"no-extent", "ext4", "-t ext4 -O ^extent,^64bit"},
		{"no-extent-1k", "ext4", "-t ext4 -b 1024 -O ^extent,^64bit"},
		{"meta_bg", "ext4", "-t ext4 -b 1024 -O meta_bg,^resize_inode"},
		{"meta_bg-no-flex_bg", "ext4", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg,^64bit"},
		{"no-flex_bg", "ext4", "-t ext4 -O ^flex_bg"},
		{"small-groups", "ext4", "-t ext4 -b 1024 -g 2048"},
		{"sparse_super2", "ext4", "-t ext4 -b 1024 -O sparse_super2,meta_bg,^resize_inode"},
		{"bigalloc", "ext4", "-t ext4 -O bigalloc -C 16384"},
		{"128-byte-inodes", "ext4", "-t ext4 -I 128"},
		{"no-filetype", "ext3", "-t ext3 -O ^filetype"},
		{"no-dir_index", "ext4", "-t ext4 -O ^dir_index"},
		{"ext3", "ext3", "-t ext3"},
		{"ext2", "ext2", "-t ext2"},
		{"ext2-1k", "ext2", "-t ext2 -b 1024"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := small
			if strings.HasPrefix(test.name, "large") {
				if source = large; large == "" {
					t.Skip("thousands of files take their time")
				}
			}
			image := blank(t, 96<<20)
			args := append([]string{"-q", "-F", "-L", "golden root", "-d", source}, strings.Fields(test.args)...)
			run(t, "mke2fs", append(args, image)...)
			fsys, _ := open(t, image)
			if fsys.Kind() != test.kind {
				t.Errorf("Kind() = %q; want %q", fsys.Kind(), test.kind)
			}
			if fsys.Dirty() {
				t.Error("Dirty() = true for a fresh file system")
			}
			var except []string
			if strings.HasPrefix(test.name, "inline_data") {
				// mke2fs 1.47.0 gives the file a wrong size with this feature, as debugfs
				// shows.
				except = append(except, "sparse")
			}
			compare(t, fsys, source, true, except...)
			checkBlkid(t, image, fsys.Kind(), fsys.UUID(), fsys.Label())
		})
	}
}
