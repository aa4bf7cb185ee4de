package diskloss

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/disk"
)

const (
	gib     = 1 << 30
	ownID   = "aaaaaaaa-0000-4000-8000-000000000000"
	otherID = "bbbbbbbb-0000-4000-8000-000000000000"
)

// uuid is the PARTUUID of partition n of the table that begins with letter.
func uuid(letter string, n int) string {
	return strings.Repeat(letter, 8) + "-0000-4000-8000-00000000000" + string(rune('0'+n))
}

func part(letter string, n int, start, size int64, fs, label string, claims ...string) disk.Partition {
	return disk.Partition{Number: n, Start: start, Size: size, FileSystem: fs, Label: label, UUID: uuid(letter, n), Claims: claims}
}

var image = disk.Layout{
	Scheme: "gpt", Size: 4 * gib, TableID: ownID,
	Partitions: []disk.Partition{part("a", 1, 1<<20, 1<<29, "vfat", "esp"), part("a", 2, 1<<30, 2*gib, "ext4", "root")},
}

// disk is one of 1 TB with the partitions.
func diskWith(id string, parts ...disk.Partition) disk.Disk {
	d := disk.Disk{Name: "sda", Size: 1e12, SectorSize: 512, TableID: id, Partitions: parts}
	for _, p := range parts {
		d.Claims = append(d.Claims, p.Claims...)
	}
	return d
}

func TestOf(t *testing.T) {
	grown := part("a", 2, 1<<30, 900e9, "ext4", "root")
	data := part("b", 3, 100*gib, 400e9, "ext4", "data")
	for _, tt := range []struct {
		name        string
		disk        disk.Disk
		keep, known []string
		want        Verdict
	}{
		{"an empty disk", diskWith(""), nil, nil, Verdict{}},
		{
			"the image itself, grown", diskWith(strings.ToUpper(ownID), image.Partitions[0], grown), nil, nil,
			Verdict{Lost: []string{`partition 1, 537 MB, vfat "esp"`, `partition 2, 900 GB, ext4 "root"`}},
		},
		{
			"the image and a partition that came later", diskWith(ownID, image.Partitions[0], data), nil, nil,
			Verdict{
				Lost:  []string{`partition 1, 537 MB, vfat "esp"`, `partition 3, 400 GB, ext4 "data"`},
				Claim: "has a partition that neither this image nor an earlier flash put there: 3",
			},
		},
		{
			"another table", diskWith(otherID, part("b", 1, 1<<20, 2e12, "xfs", ""), data), nil, nil,
			Verdict{
				Lost:  []string{`partition 1, 2 TB, xfs`, `partition 3, 400 GB, ext4 "data"`},
				Claim: "has partitions that neither this image nor an earlier flash put there: 1, 3",
			},
		},
		{
			"an earlier flash, of which only the table is known", diskWith(otherID, data), nil,
			[]string{otherID},
			Verdict{Lost: []string{`partition 3, 400 GB, ext4 "data"`}},
		},
		{
			"an earlier flash and a partition that came later", diskWith(otherID, part("b", 1, 1<<20, 1e9, "", ""), data), nil,
			[]string{otherID, uuid("b", 1)},
			Verdict{
				Lost:  []string{`partition 1, 1 GB`, `partition 3, 400 GB, ext4 "data"`},
				Claim: "has a partition that neither this image nor an earlier flash put there: 3",
			},
		},
		{
			"a claim on the image's own partition", diskWith(ownID, part("a", 2, 1<<30, 2*gib, "", "root", disk.ClaimLUKS)), nil, nil,
			Verdict{
				Lost:  []string{`partition 2, 2.1 GB, LUKS encrypted data, "root"`},
				Claim: "holds LUKS encrypted data in partition 2",
			},
		},
		{
			"a kept claim on a foreign disk", diskWith(otherID, part("b", 3, 100*gib, 400e9, "", "data", disk.ClaimLVM)),
			[]string{"data"},
			nil,
			Verdict{
				Kept: []string{`partition 3, 400 GB, an LVM physical volume, "data"`},
				Keep: []disk.Partition{part("b", 3, 100*gib, 400e9, "", "data", disk.ClaimLVM)},
			},
		},
		{
			"an MBR with logical partitions",
			disk.Disk{Name: "sda", Size: 1e12, TableID: "12345678", Partitions: []disk.Partition{
				{Number: 2, Size: 9e9, Type: "0x5"}, {Number: 5, Size: 8e9, UUID: "12345678-05"},
			}},
			nil, nil,
			Verdict{
				Lost:  []string{"partition 5, 8 GB"},
				Claim: "has a partition that neither this image nor an earlier flash put there: 5",
			},
		},
		{
			"LVM on the whole disk",
			disk.Disk{Name: "sda", Size: 1e12, Claims: []string{disk.ClaimLVM}},
			nil, nil,
			Verdict{Lost: []string{"an LVM physical volume on the whole disk"}, Claim: "holds an LVM physical volume"},
		},
		{
			"a file system on the whole disk",
			disk.Disk{Size: 1e12, FileSystem: "ext4", FSLabel: "a\x1b[2J"},
			nil, nil,
			Verdict{Lost: []string{`ext4 "a\x1b[2J" on the whole disk`}, Claim: `has a file system without a partition: ext4 "a\x1b[2J"`},
		},
		{
			"a damaged table and RAID",
			disk.Disk{Size: 1e12, Damaged: "overlap", Claims: []string{disk.ClaimRAID}},
			nil, nil,
			Verdict{
				Lost:  []string{"a member of a RAID array on the whole disk", "whatever is behind a partition table that cannot be read"},
				Claim: "holds a member of a RAID array; it has a partition table that cannot be read, and may hold anything",
			},
		},
		{"an MBR without an ID", disk.Disk{TableID: noID, Partitions: image.Partitions[:1]}, nil, []string{noID}, Verdict{
			Lost:  []string{`partition 1, 537 MB, vfat "esp"`},
			Claim: "has a partition that neither this image nor an earlier flash put there: 1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Of(tt.disk, image, tt.keep, tt.known)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Of() (-want +got):\n%s", diff)
			}
		})
	}
}

// A flash that was cut off at any point needs no more permission than it had.
func TestBegunAgain(t *testing.T) {
	withLUKS := image
	withLUKS.Partitions = []disk.Partition{part("a", 1, 1<<20, 1<<29, "vfat", ""), part("a", 2, 1<<30, 2*gib, "crypto_LUKS", "")}
	luks := part("a", 2, 1<<30, 2*gib, "", "", disk.ClaimLUKS)
	data := part("b", 3, 100*gib, 400e9, "", "data", disk.ClaimLUKS)
	begun := diskWith(otherID, part("b", 1, 1<<20, 1e9, "", "", disk.ClaimLUKS), data) // the image's bytes where the old partition was
	begun.Unsealed = true
	for name, tt := range map[string]struct {
		disk  disk.Disk
		known []string
	}{
		"sealed, and its own LUKS":     {diskWith(ownID, luks, data), nil},
		"the old table, half the data": {begun, []string{otherID, uuid("b", 1)}},
		"LBA 0 zero, nothing behind":   {disk.Disk{Name: "sda", Size: 1e12}, nil},
	} {
		keep := []string{"data"}
		if len(tt.disk.Partitions) == 0 {
			keep = nil
		}
		if v, err := Of(tt.disk, withLUKS, keep, tt.known); err != nil || v.Claim != "" {
			t.Errorf("%s: Of() = %q, %v; want no claim", name, v.Claim, err)
		}
	}
}

func TestKeepRefuses(t *testing.T) {
	end := int64(1e12) - 33*512
	d := diskWith(otherID,
		part("b", 1, 1<<20, 1e9, "", ""), part("b", 3, 100*gib, 4e9, "", "data"), part("b", 4, 200*gib, 4e9, "", "root"),
		part("b", 5, 300*gib, 4e9, "", "twin"), part("b", 6, 400*gib, 4e9, "", "twin"), part("b", 7, end-512, 1024, "", "last"),
		part("b", 8, 4*gib+512, 512, "", "near"), part("b", 2, 500*gib, 4e9, "", "two"))
	for keep, want := range map[string]string{
		"9": "there is none on sda, which has 1, 3 (", "": "there is none",
		"1":    "begins at byte 1048576, and the image takes the disk up to byte 4294967296",
		"twin": "2 partitions of sda have that name", "3,data": "named twice", "3,3": "named twice",
		"2":    "the image has a partition of that name too, so that after the flash it would mean that one; say " + uuid("b", 2),
		"root": "the image has a partition of that name too", "last": "backup GPT", "7": "backup GPT",
		"-1": "there is none", "99999999999999999999": "there is none",
	} {
		v, err := Of(d, image, strings.Split(keep, ","), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Of(keep %q) = %q, %v; want %q", keep, v.Kept, err, want)
		}
	}
	for _, keep := range []string{"data", "3", strings.ToUpper(uuid("b", 3)), uuid("b", 2)} {
		if v, err := Of(d, image, []string{keep}, nil); err != nil || len(v.Keep) != 1 {
			t.Errorf("Of(keep %q) = %+v, %v; want it kept", keep, v.Keep, err)
		}
	}
	mbr := disk.Disk{Name: "sda", Size: 1e12, Partitions: []disk.Partition{{Number: 3, Start: 8 * gib, Size: 1e9, UUID: "12345678-03"}}}
	if _, err := Of(mbr, image, []string{"3"}, nil); err == nil || !strings.Contains(err.Error(), "only partitions of a GPT") {
		t.Errorf("Of(keep on an MBR) error = %v", err)
	}
	odd := image
	odd.Size += 512
	if _, err := Of(d, odd, []string{"near"}, nil); err == nil || !strings.Contains(err.Error(), "takes the disk up to byte 4294971392") {
		t.Errorf("Of(keep in the image's last 4096 bytes) error = %v", err)
	}
	none := image
	none.Scheme = "mbr"
	if _, err := Of(d, none, []string{"3"}, nil); err == nil || !strings.Contains(err.Error(), "the image has no GPT") {
		t.Errorf("Of(keep under an MBR) error = %v", err)
	}
}

func TestResolve(t *testing.T) {
	d := diskWith(otherID, part("b", 2, 500*gib, 4e9, "", "root"), part("b", 3, 100*gib, 4e9, "", "data"))
	got, err := Resolve(d, image, []string{"data", "2"})
	if diff := cmp.Diff([]string{uuid("b", 2), uuid("b", 3)}, got); err != nil || diff != "" {
		t.Errorf("Resolve() = %q, %v", got, err)
	}
	if _, err := Resolve(d, image, []string{"7"}); err == nil {
		t.Error("Resolve() of a partition that is not there = nil; want an error")
	}
}

// Foreign inventories must not panic, and nothing that is kept is lost.
func FuzzOf(f *testing.F) {
	f.Add(1, int64(1<<20), int64(1e9), "data", uuid("b", 1), "1", int64(1e12))
	f.Add(3, int64(-1), int64(1<<62), "", "", uuid("b", 1), int64(-1))
	f.Fuzz(func(t *testing.T, n int, start, size int64, label, id, keep string, whole int64) {
		d := disk.Disk{Size: whole, TableID: otherID, Partitions: []disk.Partition{{Number: n, Start: start, Size: size, Label: label, UUID: id}}}
		v, err := Of(d, image, []string{keep}, nil)
		if err == nil && (len(v.Kept) != 1 || len(v.Lost) != 0 || start < image.Size || start+size > whole) {
			t.Errorf("Of() = %+v of %+v", v, d)
		}
	})
}
