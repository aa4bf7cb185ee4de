package inspect

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
)

// handoff is how a machine would leave the agent.
func handoff(found *Finding) (way, why string) {
	return (&golden.Config{Disk: found.Disk, Boot: found.Boot}).Handoff()
}

// zfsLabel writes a label of a pool into a partition, which leaves the first 8
// KiB of it alone.
func zfsLabel(t *testing.T, disk *os.File, at int64) {
	t.Helper()
	b := make([]byte, 248<<10)
	for off := 120 << 10; off < len(b); off += 1024 {
		binary.LittleEndian.PutUint64(b[off:], 0x00bab10c)
	}
	if _, err := disk.WriteAt(b, at+8<<10); err != nil {
		t.Fatal(err)
	}
}

// A partition with the signatures of two formats is neither, until its type or
// the operator says which.
func TestLookDoubtsTwoSignatures(t *testing.T) {
	const zfsType = "6A898CC3-1DD2-11B2-99A6-080020736631"
	const size = 64 * mib
	head, tail := []int64{0, 256 << 10}, []int64{size - 512<<10, size - 256<<10}
	for name, tt := range map[string]struct {
		kind   string
		labels []int64
		given  Given
		want   string // the partition's file system
		doubt  string
		way    string
	}{
		"labels of a former pool at the end": {linux, tail, Given{}, "ext4", "", "switch_root"},
		"all labels": {
			linux, append(head, tail...),
			Given{},
			"", "partition 1: * ext4 or zfs_member (--root settles it)",
			"reboot",
		},
		"all labels, and the operator knows": {linux, append(head, tail...), Given{Root: 1}, "ext4", "", "switch_root"},
		"all labels, and the type says ZFS":  {zfsType, append(head, tail...), Given{}, "zfs_member", "", ""},
		"only the type says ZFS":             {zfsType, nil, Given{}, "ext4", "", "switch_root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The reserved descriptors keep what is read of the old file system out of the
			// labels' way.
			p := part{
				fs: "ext4", uuid: rootUUID, kind: tt.kind, tree: system(t), size: size,
				args: []string{"-b", "4096", "-O", "^has_journal", "-E", "resize=1000000000"},
			}
			disk := makeDisk(t, "gpt", p)
			for _, at := range tt.labels {
				zfsLabel(t, disk, mib+at)
			}
			found := lookAt(t, disk, tt.given)
			if got := found.Disk.Partitions[0].FileSystem; got != tt.want {
				t.Errorf("the partition holds %q; want %q", got, tt.want)
			}
			before, after, _ := strings.Cut(tt.doubt, "*")
			switch {
			case tt.doubt == "" && len(found.Doubts) > 0, tt.doubt != "" && len(found.Doubts) != 1:
				t.Errorf("doubts %v; want %q", found.Doubts, tt.doubt)
			case tt.doubt != "" && (!strings.HasPrefix(found.Doubts[0].String(), before) || !strings.HasSuffix(found.Doubts[0].String(), after)):
				t.Errorf("doubt %q; want %q", found.Doubts[0], tt.doubt)
			}
			if tt.way == "" {
				if found.Boot != nil {
					t.Errorf("Boot = %+v; want none", found.Boot)
				}
				return
			}
			if way, why := handoff(found); way != tt.way {
				t.Errorf("handoff by %s (%s); want %s", way, why, tt.way)
			}
		})
	}
}
