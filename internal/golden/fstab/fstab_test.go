package fstab_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden/fstab"
)

func TestParse(t *testing.T) {
	got, odd := fstab.Parse([]byte("# <file system> <mount point>\n" +
		"UUID=6b2d / xfs defaults,noatime 0 1\n\n" +
		"UUID=\"A0B1-C2D3\"\t/boot/efi vfat umask=0077 0 2 # ESP\n" +
		"/dev/disk/by-label/my\\040data /srv/my\\040data ext4\n" +
		"LABEL=swap none swap sw\n" +
		"/dev/sdb1 /data xfs rw, noatime, nofail 0 2\n" +
		"UUID=1\n" +
		"/dev/sdc1 /more ext4 ro 0 x\n" +
		"/dev/sdd1 /last ext4 ro 1 # once\n"))
	want := []fstab.Mount{
		{Spec: "UUID=6b2d", File: "/", Type: "xfs", Options: []string{"defaults", "noatime"}, Pass: 1},
		{Spec: "UUID=A0B1-C2D3", File: "/boot/efi", Type: "vfat", Options: []string{"umask=0077"}, Pass: 2},
		{Spec: "/dev/disk/by-label/my data", File: "/srv/my data", Type: "ext4", Options: []string{"defaults"}},
		{Spec: "LABEL=swap", File: "none", Type: "swap", Options: []string{"sw"}},
		{Spec: "/dev/sdd1", File: "/last", Type: "ext4", Options: []string{"ro"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse() (-want +got):\n%s", diff)
	}
	for i, words := range []string{"line 7 is left out*blanks between its options", "line 8*one field", `line 9*pass "x" is no number`} {
		line, why, _ := strings.Cut(words, "*")
		if len(odd) != 3 || !strings.HasPrefix(odd[i].Error(), line) || !strings.Contains(odd[i].Error(), why) {
			t.Errorf("Parse() tells %v; want %q", odd, words)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("UUID=\"1\" /a\\040b xfs defaults 0 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		mounts, odd := fstab.Parse(data)
		for _, m := range mounts {
			if m.Spec == "" && !bytes.Contains(data, []byte(`=""`)) || len(m.Options) == 0 {
				t.Fatalf("Parse(%q) = %+v", data, m)
			}
		}
		// A line more costs no other line.
		if more, _ := fstab.Parse(append([]byte("one-field\n"), data...)); len(odd) == 0 && len(more) != len(mounts) {
			t.Fatalf("Parse(%q) has %d mounts, with an odd line in front %d", data, len(mounts), len(more))
		}
	})
}
