package redfish

import "strings"

// quirk is what the BMCs of one vendor do otherwise than the standard, or most
// others. That which answers tell is found out and stands not here.
type quirk struct {
	// fullBoot: what a boot override leaves out is reset, so that mode, target
	// and enabled go together.
	fullBoot bool
	// noMode: a boot mode that is sent, even the same, is refused or starts a
	// job of the firmware, with another boot.
	noMode bool
	// virtualCD is the boot target that a virtual disc has; empty: Cd.
	virtualCD string
}

func (q quirk) cd() string {
	if q.virtualCD != "" {
		return q.virtualCD
	}
	return "Cd"
}

// quirks are found by a word of what root or system say of their maker.
var quirks = []struct {
	vendor string
	quirk  quirk
}{
	{"supermicro", quirk{fullBoot: true, virtualCD: "UsbCd"}},
	{"super micro", quirk{fullBoot: true, virtualCD: "UsbCd"}},
	{"asrockrack", quirk{fullBoot: true}},
	{"american megatrends", quirk{fullBoot: true}},
	{"ami", quirk{fullBoot: true}},
	{"dell", quirk{noMode: true}},
	{"hpe", quirk{noMode: true}},
	{"hewlett", quirk{noMode: true}},
}

// quirkOf finds the quirk of a BMC. The root of some names nobody, so the
// system is asked too.
func quirkOf(root, system object) quirk {
	said := strings.ToLower(strings.Join([]string{root.text("Vendor"), root.text("Product"), system.text("Manufacturer")}, " "))
	words := " " + strings.Join(strings.FieldsFunc(said, func(r rune) bool {
		return r == ' ' || r == ',' || r == '.' || r == '(' ||
			r == ')'
	}), " ") + " "
	for _, q := range quirks {
		if strings.Contains(words, " "+q.vendor+" ") {
			return q.quirk
		}
	}
	return quirk{}
}
