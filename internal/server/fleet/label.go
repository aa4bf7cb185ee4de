package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// Kinds of labels other than MACs, before their text: "uuid/...".
const (
	labelUUID   = "uuid/"
	labelSerial = "serial/"
	labelName   = "name/"
	labelBeacon = "beacon/"
)

// Shown is what a machine shows of itself on the wire: labels by which it is
// recognised, never proof of who it is.
type Shown struct {
	MACs   []string // the one that it is using first
	UUID   string
	Serial string
}

// ShownBy reads the labels of an inventory.
func ShownBy(inv *api.Inventory) Shown {
	return Shown{MACs: MACs(&api.Machine{MAC: inv.MAC, Inventory: inv}), UUID: inv.UUID, Serial: inv.Serial}
}

// Labels returns every label to look up for a machine that shows s.
func (s Shown) Labels() []string {
	return compact(append(slices.Clone(s.MACs), UUIDLabel(s.UUID), SerialLabel(s.Serial)))
}

// Labels returns every label by which a machine is to be found, what counts
// most first: the operator's words, the beacon, then what it showed.
func Labels(m *api.Machine) []string {
	labels := []string{NameLabel(m.Spec.Name)}
	if m.Awaited != nil && m.Awaited.Beacon != "" {
		labels = append(labels, BeaconLabel(m.Awaited.Beacon))
	}
	labels = append(labels, UUIDLabel(m.Spec.UUID), SerialLabel(m.Spec.Serial))
	if m.Inventory != nil {
		labels = append(labels, UUIDLabel(m.Inventory.UUID), SerialLabel(m.Inventory.Serial))
	}
	return compact(append(labels, MACs(m)...))
}

// compact drops what is empty or there before.
func compact(labels []string) []string {
	var out []string
	for _, l := range labels {
		if l != "" && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// MACs returns every address by which a machine is recognised: those that the
// operator gave, the one it was last seen by and those of its NICs.
func MACs(m *api.Machine) []string {
	macs := append([]string{m.MAC}, m.Spec.MACs...)
	if m.Inventory != nil {
		for _, n := range m.Inventory.NICs {
			macs = append(macs, n.MAC)
		}
	}
	return compact(macs)
}

// NameLabel is the label of a name; case does not tell two machines apart.
func NameLabel(name string) string { return label(labelName, name) }

// BeaconLabel is the label of a beacon's token: its SHA-256, because labels are
// keys, and etcd writes the keys of a slow request into its log.
func BeaconLabel(token string) string {
	sum := sha256.Sum256([]byte(token))
	return labelBeacon + hex.EncodeToString(sum[:])
}

// SerialLabel is the label of a serial number; empty for one that identifies
// nothing.
func SerialLabel(serial string) string {
	serial = strings.TrimSpace(serial)
	if worthless(serial) {
		return ""
	}
	return label(labelSerial, serial)
}

// UUIDLabel is the label of an SMBIOS UUID in any spelling, with one form for
// both byte orders; empty for one that identifies nothing.
func UUIDLabel(uuid string) string {
	uuid = strings.ToLower(strings.TrimSpace(uuid))
	if !isUUID(uuid) || slices.Contains(commonUUIDs, uuid) || slices.Contains(commonUUIDs, swapped(uuid)) {
		return ""
	}
	return label(labelUUID, min(uuid, swapped(uuid)))
}

func label(kind, text string) string {
	if text == "" {
		return ""
	}
	return kind + strings.ToLower(text)
}

// commonUUIDs are what boards have whose vendor never set one: thousands of
// machines share each.
var commonUUIDs = []string{
	"00000000-0000-0000-0000-000000000000",
	"ffffffff-ffff-ffff-ffff-ffffffffffff",
	"03000200-0400-0500-0006-000700080009",
	"12345678-1234-5678-90ab-cddeefaabbcc",
	"00020003-0004-0005-0006-000700080009",
	"01234567-8910-1112-1314-151617181920",
	"11111111-2222-3333-4444-555555555555",
}

// worthless reports whether a serial number is what a vendor forgot to
// replace.
func worthless(serial string) bool {
	s := strings.ToLower(strings.Trim(serial, " .-_"))
	if strings.Trim(s, "0") == "" || strings.Trim(s, "x") == "" || strings.Trim(s, "f") == "" {
		return true
	}
	switch s {
	case "to be filled by o.e.m", "default string", "not specified", "not available", "not applicable", "system serial number",
		"chassis serial number", "serial number", "none", "n/a", "na", "unknown", "empty", "invalid", "oem", "o.e.m", "null",
		"123456789", "1234567890", "0123456789", "12345678", "1234567":
		return true
	}
	return false
}

// isUUID reports whether s, in lower case, has the form of a UUID.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
