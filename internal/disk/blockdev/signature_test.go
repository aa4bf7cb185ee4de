package blockdev

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSignaturesAgainstMakers lets the real programs make what is to be
// recognised.
func TestSignaturesAgainstMakers(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int64
		make []string // program and arguments, the file goes last
		in   string
		want []string
	}{
		{"nothing", 8 * mib, nil, "", nil},
		{"ext2", 8 * mib, []string{"mke2fs", "-q", "-t", "ext2"}, "", []string{"ext2"}},
		{"ext3", 8 * mib, []string{"mke2fs", "-q", "-t", "ext3"}, "", []string{"ext3"}},
		{"ext4", 8 * mib, []string{"mke2fs", "-q", "-t", "ext4"}, "", []string{"ext4"}},
		{"ext4 1k", 8 * mib, []string{"mke2fs", "-q", "-t", "ext4", "-b", "1024"}, "", []string{"ext4"}},
		{"xfs", 320 * mib, []string{"mkfs.xfs", "-q"}, "", []string{"xfs"}},
		{"vfat 12", 2 * mib, []string{"mkfs.vfat", "-F12"}, "", []string{"vfat"}},
		{"vfat 16", 16 * mib, []string{"mkfs.vfat", "-F16"}, "", []string{"vfat"}},
		{"vfat 32", 64 * mib, []string{"mkfs.vfat", "-F32"}, "", []string{"vfat"}},
		{"swap", 8 * mib, []string{"mkswap", "-q"}, "", []string{"swap"}},
		{"gpt", 8 * mib, []string{"sfdisk", "-q"}, "label: gpt\nsize=1M\nsize=1M\nsize=1M\n", []string{"GPT, 3 partitions"}},
		{"mbr", 8 * mib, []string{"sfdisk", "-q"}, "label: dos\nsize=1M\n", []string{"MBR, 1 partition"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := diskFile(t, nil)
			if err := os.Truncate(path, tc.size); err != nil {
				t.Fatal(err)
			}
			if tc.make != nil {
				run(t, tc.in, tc.make[0], append(tc.make[1:], path)...)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if diff := cmp.Diff(tc.want, Signatures(f, tc.size)); diff != "" {
				t.Errorf("Signatures() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSignaturesSynthetic covers what no program at hand makes. Every signature
// must also be inside the ranges that are wiped, which the same table proves.
func TestSignaturesSynthetic(t *testing.T) {
	const size = 6*mib + 77*512
	le := func(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
	md := "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"
	for _, tc := range []struct {
		want string
		off  int64
		data string
	}{
		{"btrfs", 64<<10 + 64, "_BHRfS_M"},
		{"f2fs", 1024, "\x10\x20\xf5\xf2"},
		{"squashfs", 0, "hsqs"},
		{"iso9660", 32769, "CD001"},
		{"ntfs", 3, "NTFS    "},
		{"exfat", 3, "EXFAT   "},
		{"swap", 65526, "SWAPSPACE2"},
		{"LVM2", 512, "LABELONE"},
		{"LUKS1", 0, "LUKS\xba\xbe\x00\x01"},
		{"LUKS2", 0, "LUKS\xba\xbe\x00\x02"},
		{"LUKS", 0, "LUKS\xba\xbe\xff\xff"},
		{"mdraid 1.1", 0, md},
		{"mdraid 1.2", 4096, md},
		{"mdraid 1.0", (size/512 - 16) &^ 7 * 512, md},
		{"mdraid 0.90", size&^65535 - 65536, "\xfc\x4e\x2b\xa9\x00\x00\x00\x00"},
		{"mdraid 0.90", size&^65535 - 65536, "\xa9\x2b\x4e\xfc\x00\x00\x00\x00"},
		{"ZFS", 128<<10 + 5*1024, le(0x00bab10c)},
		{"ZFS", size&^(256<<10-1) - 128<<10, le(0x00bab10c)},
		{"ZFS", size&^(256<<10-1) - 384<<10, "\x00\x00\x00\x00\x00\xba\xb1\x0c"},
		{"Intel firmware RAID", size - 1024, "Intel Raid ISM Cfg Sig. 1.3"},
		{"DDF firmware RAID", size - 512, "\xde\x11\xde\x11"},
	} {
		disk := make([]byte, size)
		copy(disk[tc.off:], tc.data)
		if got := Signatures(bytes.NewReader(disk), size); !slices.Equal(got, []string{tc.want}) {
			t.Errorf("%s at %d: Signatures() = %q", tc.want, tc.off, got)
		}
		for _, r := range SignatureRanges(size) {
			clear(disk[r.Offset : r.Offset+r.Length])
		}
		if got := Signatures(bytes.NewReader(disk), size); len(got) != 0 {
			t.Errorf("%s at %d: still %q after the ranges were zeroed", tc.want, tc.off, got)
		}
	}
}

func TestSignaturesDamagedTable(t *testing.T) {
	disk := make([]byte, mib)
	disk[510], disk[511] = 0x55, 0xaa
	disk[450], disk[454] = 0xee, 1 // a protective MBR without its GPT
	disk[458] = 0xff
	if got := Signatures(bytes.NewReader(disk), mib); !slices.Equal(got, []string{"damaged partition table"}) {
		t.Errorf("Signatures() = %q", got)
	}
}

func TestSignatureRanges(t *testing.T) {
	for _, size := range []int64{
		-1, 0, 1, 512, mib, 2 * mib, 2*mib + 512, 3 * mib, 5*mib + 4095, 64 * mib, 65*mib + 4096, 1 << 40,
		1<<63 - 1,
	} {
		var end, sum int64
		ranges := SignatureRanges(size)
		for _, r := range ranges {
			if r.Offset < end || r.Length <= 0 || r.Offset%4096 != 0 || r.Offset > size-r.Length {
				t.Errorf("SignatureRanges(%d): %+v behind %d", size, r, end)
			}
			end, sum = r.Offset+r.Length, sum+r.Length
		}
		if size > 0 && (end != size || ranges[0].Offset != 0) || sum > 3*mib {
			t.Errorf("SignatureRanges(%d) = %+v", size, ranges)
		}
	}
}

// FuzzSignatures wants no panic, no duplicates and a bounded answer from any
// disk.
func FuzzSignatures(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe\x00\x02"), uint16(0), uint32(4096))
	f.Add([]byte("LABELONE"), uint16(512), uint32(1<<20))
	f.Add([]byte("\x53\xef"), uint16(1080), uint32(70000))
	f.Add([]byte("\x55\xaa"), uint16(510), uint32(512))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, size uint32) {
		disk := make([]byte, size%(2<<20))
		copy(disk[min(int(at), len(disk)):], data)
		got := Signatures(bytes.NewReader(disk), int64(len(disk)))
		slices.Sort(got)
		if len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("Signatures() = %q: twice the same", got)
		}
		// A reader that promises more than it has must not matter.
		_ = Signatures(bytes.NewReader(disk), 1<<62)
	})
}
