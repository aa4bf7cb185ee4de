package partition

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// renamed gives each GUID and signature another first digit.
func renamed(old string) string { return "f" + old[1:] }

// Everything but the IDs stays, in both tables; foreign tools find them sound.
func TestNewIDs(t *testing.T) {
	const script = "label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\n" +
		"size=4MiB, type=U, name=esp, uuid=01111111-0000-4000-8000-000000000001\n" +
		"size=8MiB, type=L, name=keep, uuid=02222222-0000-4000-8000-000000000002\n" +
		"size=8MiB, type=L, name=root, uuid=03333333-0000-4000-8000-000000000003, attrs=\"LegacyBIOSBootable\"\n"
	for _, tt := range []struct {
		name, script string
		scheme       Scheme
		keep         string
	}{
		{"gpt", script, GPT, "02222222-0000-4000-8000-000000000002"},
		{"mbr", "label: dos\nlabel-id: 0x61d00001\nsize=4MiB, type=c, bootable\nsize=20MiB, type=5\nsize=4MiB, type=83\n", MBR, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := sparse(t, 64*mib)
			run(t, tt.script, "sfdisk", "-q", path)
			f := open(t, path)
			before, err := Read(f, size(t, f), 512)
			if err != nil {
				t.Fatal(err)
			}
			fresh := func(old string) string {
				if old == tt.keep {
					return old
				}
				return renamed(old)
			}
			plan, err := NewIDs(f, size(t, f), 512, fresh)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, f, plan)
			judge(t, path, tt.scheme)
			want := *before
			want.DiskID = renamed(before.DiskID)
			for i, p := range want.Partitions {
				want.Partitions[i].GUID = fresh(p.GUID)
			}
			got, err := Read(f, size(t, f), 512)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("Read() after NewIDs() (-want +got):\n%s", diff)
			}
			if got := sfdiskTable(t, path).DiskID; got != want.DiskID {
				t.Errorf("sfdisk: ID %q; want %q", got, want.DiskID)
			}
			plan, err = NewIDs(f, size(t, f), 512, func(old string) string { return old })
			if err != nil || len(plan.Edits) != 0 {
				t.Errorf("NewIDs() without a change = %+v, %v; want no edits", plan, err)
			}
		})
	}
}

func TestNewIDsRefuses(t *testing.T) {
	path := sparse(t, 8*mib)
	f := open(t, path)
	if plan, err := NewIDs(f, 8*mib, 512, renamed); err != nil || len(plan.Edits) != 0 {
		t.Errorf("NewIDs() of no table = %+v, %v; want no edits", plan, err)
	}
	for _, label := range []string{"gpt", "dos"} {
		run(t, "label: "+label+"\n", "sfdisk", "-q", "-w", "always", path)
		for _, id := range []string{
			"", "x", strings.Repeat("0", 40), "11111111-2222-4333-8444-55555555555",
			"11111111-2222-4333-8444 555555555555",
		} {
			if plan, err := NewIDs(f, 8*mib, 512, func(string) string { return id }); err == nil {
				t.Errorf("NewIDs(%s, %q) = %+v; want an error", label, id, plan)
			}
		}
	}
}
