package api

import (
	"fmt"
	"slices"
	"strings"
)

// Unfit says what of a machine does not go together with the image, although
// the image can be written to it: what an operator has to know before.
func (i Image) Unfit(m *Inventory) (all []string) {
	if m == nil {
		return nil
	}
	if m.Arch != "" && i.Arch != "" && m.Kernel != "" && m.Arch != i.Arch {
		all = append(all, fmt.Sprintf("the image is for %s, the machine is %s", i.Arch, m.Arch))
	}
	if m.Firmware == "" || i.Damage != "" || slices.Contains(i.Firmware, m.Firmware) {
		return all
	}
	starts := "has no boot loader for any firmware"
	if len(i.Firmware) > 0 {
		starts = "starts by " + strings.ToUpper(strings.Join(i.Firmware, " and ")) + " only"
	}
	return append(all, fmt.Sprintf("after a power cut it will not start from this disk: its firmware is %s, and the image %s",
		strings.ToUpper(m.Firmware), starts))
}
