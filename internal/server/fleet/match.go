package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// AmbiguousError says that one machine's addresses lead to several armed
// records, so that nobody can say which plan is meant.
type AmbiguousError struct{ MACs []string }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("the addresses %s belong to one machine but are armed apart", strings.Join(e.MACs, ", "))
}

// Hint says what the operator can do.
func (e *AmbiguousError) Hint() string { return "delete all of them but one" }

// MACs returns every address by which a machine is recognised: the one it is
// recorded under and those of its NICs.
func MACs(m *api.Machine) []string {
	macs := []string{m.MAC}
	if m.Inventory != nil {
		for _, n := range m.Inventory.NICs {
			if n.MAC != "" && !slices.Contains(macs, n.MAC) {
				macs = append(macs, n.MAC)
			}
		}
	}
	return macs
}

// Match picks the record of a machine that shows the addresses macs, the one
// it is using first, and the SMBIOS UUID uuid (empty: not known). candidates
// are the records that any of the addresses belongs to. It returns the MAC of
// the record, macs[0] when the machine is new, or an *AmbiguousError.
//
// A machine may boot by one NIC and be armed by another, so an armed record
// goes before one that is not. A record found only through its inventory must
// not contradict the UUID: a USB adapter carries its address to the next
// machine, which is not to be flashed for it.
func Match(candidates []api.Machine, macs []string, uuid string) (string, error) {
	var armed, known []string
	for i := range candidates {
		m := &candidates[i]
		if m.MAC != macs[0] && contradicts(m, uuid) {
			continue
		}
		if m.Armed != nil {
			armed = append(armed, m.MAC)
		}
		known = append(known, m.MAC)
	}
	switch {
	case len(armed) > 1:
		slices.Sort(armed)
		return "", &AmbiguousError{armed}
	case len(armed) == 1:
		return armed[0], nil
	case len(known) == 0 || slices.Contains(known, macs[0]):
		return macs[0], nil
	}
	return slices.Min(known), nil
}

func contradicts(m *api.Machine, uuid string) bool {
	if m.Inventory == nil || m.Inventory.UUID == "" || uuid == "" {
		return false
	}
	was := strings.ToLower(m.Inventory.UUID)
	uuid = strings.ToLower(uuid)
	return was != uuid && was != swapped(uuid)
}

// swapped gives a UUID with its first three fields in the other byte order.
// SMBIOS before 2.6 left the order open, so firmware, iPXE and Linux can
// spell the same UUID in both ways (SMBIOS 3.7, section 7.2.1).
func swapped(uuid string) string {
	if len(uuid) != 36 {
		return uuid
	}
	b := []byte(uuid)
	for _, field := range [][2]int{{0, 8}, {9, 13}, {14, 18}} {
		f := b[field[0]:field[1]]
		slices.Reverse(f)
		for i := 0; i < len(f); i += 2 {
			f[i], f[i+1] = f[i+1], f[i]
		}
	}
	return string(b)
}
