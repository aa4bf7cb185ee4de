package evidence

import (
	"errors"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

const (
	uuidA = "4c4c4544-0051-3510-8052-b4c04f4a4c32"
	uuidB = "0a1f6c52-7d07-4c0e-9d9a-000000000002"
	macA  = "52:54:00:00:00:01"
	macB  = "52:54:00:00:00:02"
)

// value is one of the four things that a side can say.
type value int

const (
	absent value = iota
	worthless
	first
	second
)

var values = []value{absent, worthless, first, second}

func (v value) of(texts [4]string) string { return texts[v] }

var (
	uuids   = [4]string{"", "03000200-0400-0500-0006-000700080009", uuidA, uuidB}
	serials = [4]string{"", "To Be Filled By O.E.M.", "SER-A", "SER-B"}
	wwns    = [4]string{"", "0x0000000000000000", "naa.5002538d00000001", "naa.5002538d00000002"}
)

func (v value) says() bool { return v >= first }

// The whole space: what was agreed to, against what is shown.
func TestOtherMachineEverywhere(t *testing.T) {
	for _, au := range values {
		for _, as := range values {
			for _, su := range values {
				for _, ss := range values {
					for _, own := range []bool{true, false} {
						inv := api.Inventory{UUID: su.of(uuids), Serial: ss.of(serials), MAC: macB}
						if own {
							inv.NICs = []api.NIC{{MAC: macB}, {MAC: macA}}
						}
						agreed := api.Agreed{UUID: au.of(uuids), Serial: as.of(serials), MACs: []string{macA}}
						contradicted := au.says() && su.says() && au != su || as.says() && ss.says() && as != ss
						confirmed := au.says() && au == su || as.says() && as == ss
						known := au.says() || as.says()
						want := !contradicted && (confirmed || !known && own)
						if err := OtherMachine(agreed, &inv); (err == nil) != want {
							t.Fatalf("agreed %+v, shown %q %q own card %v: %v; want it to be the machine: %v", agreed, inv.UUID, inv.Serial, own, err, want)
						}
					}
				}
			}
		}
	}
}

func TestOtherDiskEverywhere(t *testing.T) {
	for _, as := range values {
		for _, aw := range values {
			for _, ds := range values {
				for _, dw := range values {
					for _, place := range []string{"", "pci-1", "pci-2"} {
						for _, size := range []int64{1000, 2000} {
							agreed := api.AgreedDisk{Name: "sda", Serial: as.of(serials), WWN: aw.of(wwns), Path: "pci-1", Size: 1000}
							d := api.Disk{Name: "sdb", Serial: ds.of(serials), WWN: dw.of(wwns), Path: place, Size: size}
							contradicted := as.says() && ds.says() && as != ds || aw.says() && dw.says() && aw != dw || size != 1000
							confirmed := as.says() && as == ds || aw.says() && aw == dw
							named := as.says() || aw.says()
							want := !contradicted && (confirmed || !named && place != "pci-2")
							if err := OtherDisk(&agreed, &d); (err == nil) != want {
								t.Fatalf("agreed %+v, disk %+v: %v; want it to be the disk: %v", agreed, d, err, want)
							}
						}
					}
				}
			}
		}
	}
	if err := OtherDisk(nil, &api.Disk{Serial: "X"}); err != nil {
		t.Errorf("OtherDisk where none was seen = %v; want nil", err)
	}
}

// What is refused tells both sides' values, and a code that has advice.
func TestContradictionTellsBoth(t *testing.T) {
	machine := OtherMachine(api.Agreed{UUID: uuidA}, &api.Inventory{UUID: uuidB, MAC: macA})
	disk := OtherDisk(&api.AgreedDisk{Serial: "S1", Size: 1}, &api.Disk{Serial: "S2", Size: 1})
	for _, tt := range []struct {
		err               error
		cause, was, found string
	}{{machine, api.CauseOtherMachine, uuidA, uuidB}, {disk, api.CauseOtherDisk, "S1", "S2"}} {
		c, ok := errors.AsType[*Contradiction](tt.err)
		if !ok || c.Cause != tt.cause || !strings.Contains(c.Error(), tt.was) || !strings.Contains(c.Error(), tt.found) || c.Hint() == "" {
			t.Errorf("refusal = %v (%+v); want cause %s with %s and %s", tt.err, c, tt.cause, tt.was, tt.found)
		}
		if ok && api.Advice(c.Cause, "x") == "" {
			t.Errorf("no advice for %s", c.Cause)
		}
	}
}

func TestWorthless(t *testing.T) {
	for _, s := range []string{
		"", "To be filled by O.E.M.", "TO BE FILLED BY O.E.M", "Default string", "None", "0", "0000000", "123456789", "1234567890", "0123456789",
		"9876543210", " xxxxxxx ", "FFFFFFFF", "........", "System Serial Number", "Not Specified", "N/A", "ABABABAB", "1111", "0123456789ABCDEF",
		"Chassis_Serial_Number",
	} {
		if got := Serial(s); got != "" {
			t.Errorf("Serial(%q) = %q; want none", s, got)
		}
	}
	for _, s := range []string{
		"", "x", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "00020003-0004-0005-0006-000700080009",
		"03000200-0400-0500-0006-000700080009", "11111111-1111-1111-1111-111111111111", "20202020-2020-2020-2020-202020202020", uuidA + "0",
		"01234567-8901-2345-6789-012345678901", "67452301-0189-4523-6789-012345678901", "fefefefe-fefe-fefe-fefe-fefefefefefe",
	} {
		if got := UUID(s); got != "" {
			t.Errorf("UUID(%q) = %q; want none", s, got)
		}
	}
	for _, s := range []string{"X7", "S", "4C530001", "VMware-42 1f", "5CD1234XYZ", "R90ABC12", "1001", "PF0123AB"} {
		if Serial(s) == "" {
			t.Errorf("Serial(%q) is none; want it kept", s)
		}
	}
}

func TestUUIDInBothByteOrders(t *testing.T) {
	for _, s := range []string{"44454c4c-5100-1035-8052-b4c04f4a4c32", strings.ToUpper(uuidA), " " + uuidA + " "} {
		if got := UUIDs(s, uuidA); got != Agrees {
			t.Errorf("UUIDs(%q, %q) = %v; want that they agree", s, uuidA, got)
		}
	}
}

// A form is its own form, whatever the text.
func FuzzForms(f *testing.F) {
	for _, s := range append(append(uuids[:], serials[:]...), wwns[:]...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, form := range map[string]func(string) string{"UUID": UUID, "Serial": Serial, "WWN": WWN} {
			if once := form(s); form(once) != once {
				t.Errorf("%s(%q) = %q, of that %q", name, s, once, form(once))
			}
		}
		if UUIDs(s, s) == Contradicts || Serials(s, s) == Contradicts {
			t.Errorf("%q contradicts itself", s)
		}
	})
}
