package diskrule

import (
	"errors"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/disk"
)

var machine = []disk.Disk{
	{
		Name: "sda", Size: 480103981056, Model: "SAMSUNG MZ7", Serial: "S4EWNX0R", WWN: "0x5002538e00000001", Transport: "sata",
		Path: "pci-0000:00:1f.2-ata-1",
	},
	{Name: "sdb", Size: 480103981056, Model: "SAMSUNG MZ7", Serial: "S4EWNX0T", Transport: "sata"},
	{Name: "nvme0n1", Size: 1000204886016, Model: "WD Black", Serial: "2110", Transport: "nvme"},
	{Name: "sdc", Size: 8e9, Model: "Ultra", Serial: "4C53", Transport: "usb", Removable: true},
	{Name: "sr0", Size: 1e9, ReadOnly: true, Serial: "QM1"},
	{Name: "sdd", Size: 0, Model: "Card Reader", Transport: "sata"},
}

func TestSelect(t *testing.T) {
	for rule, want := range map[string]string{
		"serial=S4EWNX0R":                                  "sda",
		"serial=s4ewnx0t":                                  "sdb",
		"wwn=0x5002538E00000001":                           "sda",
		"path=pci-0000:00:1f.2-ata-1":                      "sda",
		"by-path=pci-0000:00:1f.2-ata-1":                   "sda",
		"by-path~ata-1":                                    "sda",
		"name=/dev/nvme0n1":                                "nvme0n1",
		"size>=900G,transport=nvme":                        "nvme0n1",
		"model~samsung,size<1T,serial~0R":                  "sda",
		"largest":                                          "nvme0n1",
		"by-path=/dev/disk/by-path/pci-0000:00:1f.2-ata-1": "sda",
		"name=sdc":                                         "sdc", // named: a removable disk may be meant
		"transport=usb":                                    "sdc",
		"transport=nvme":                                   "nvme0n1",
		"model~black":                                      "nvme0n1",
		"size>=900G":                                       "nvme0n1",
		"size=1T":                                          "nvme0n1",
		"size>0.4TiB, size<=2TiB,largest":                  "nvme0n1",
		" model~samsung , serial~0T ":                      "sdb",
		// Several, or none.
		"":                      "",
		"smallest":              "",
		"size=480G":             "",
		"size=480":              "",
		"serial=S4EW":           "",
		"name=sr0":              "",
		"name=sdd":              "",
		"model~ultra":           "",
		"size<=10G":             "", // a stick and a drive that nobody named
		"size>=1G,smallest":     "", // two of that size; the stick is smaller and was not named
		"size<100G,smallest":    "",
		"by-path=pci":           "",
		"model~samsung,largest": "",
	} {
		r, err := Parse(rule)
		if err != nil {
			t.Errorf("Parse(%q) = %v; want a rule", rule, err)
			continue
		}
		got, err := r.Select(machine)
		if got.Name != want {
			t.Errorf("Select(%q) = %q, %v; want %q", rule, got.Name, err, want)
		}
		if typed := (*Error)(nil); want == "" && !errors.As(err, &typed) {
			t.Errorf("Select(%q) error = %T; want *Error", rule, err)
		}
	}
}

func TestEmptyRuleMeansTheOnlyDisk(t *testing.T) {
	got, err := Rule{}.Select([]disk.Disk{machine[0], machine[3], machine[4], machine[5]})
	if err != nil || got.Name != "sda" {
		t.Errorf("Select() = %q, %v; want sda", got.Name, err)
	}
}

func TestErrorSaysWhatWasSeen(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		disks []disk.Disk
		want  []string
	}{
		{"", nil, []string{"no disk"}},
		{"", machine, []string{"3 disks", "--disk", "sda", "480.1 GB", "S4EWNX0T", "sr0", "read-only", "removable"}},
		{"serial=x", machine, []string{`"serial=x"`, "no disk", "nvme0n1"}},
		{"size=480G", machine, []string{"2 disks"}},
		{"", machine[3:4], []string{"without being named"}},
		{
			"smallest", machine[:2],
			[]string{"means 2 disks; seen:\n  sda, 480.1 GB, SAMSUNG MZ7, serial S4EWNX0R, wwn 0x5002538e00000001, at " +
				"pci-0000:00:1f.2-ata-1, sata;\n  sdb, "},
		},
	} {
		r, err := Parse(tt.rule)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Select(tt.disks)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Select(%q) error = %v; want %q in it", tt.rule, err, want)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, rule := range []string{
		"serial", "serial=", "name=/dev/", "by-path=/dev/disk/by-path/", "=x", "colour=red", "serial>=3", "size~4", "size=", "size=-1",
		"size=1e9", "size=inf",
		"size=NaN", "size=0", "size=99999999999T", "size=0x10", "smallest,largest", ",", "serial=x,", "Smallest",
		strings.Repeat("a", MaxLength+1),
	} {
		if r, err := Parse(rule); err == nil {
			t.Errorf("Parse(%.40q) = %+v; want an error", rule, r)
		}
	}
}

// A rule that parses also parses from its own text, and never picks what must
// not be written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "smallest", "serial=S4EW", "size>=400G,model~x", "size=1.5TiB", "name=sda,,", "size=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		if _, err := Parse(r.String()); err != nil {
			t.Fatalf("Parse(%q) of a parsed rule = %v", r, err)
		}
		d, err := r.Select(machine)
		if err == nil && (d.ReadOnly || d.Size <= 0) {
			t.Fatalf("Select(%q) = %+v", s, d)
		}
	})
}
