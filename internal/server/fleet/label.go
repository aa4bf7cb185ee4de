package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
)

// Kinds of labels other than MACs, before their text: "uuid/...".
const (
	labelUUID   = "uuid/"
	labelSerial = "serial/"
	labelName   = "name/"
	labelBeacon = "beacon/"
	labelTicket = "ticket/"
)

// Shown is what a machine shows of itself on the wire: labels by which it is
// recognised, never proof of who it is.
type Shown struct {
	MACs   []string // the one that it is using first
	UUID   string
	Serial string
	Disks  []string // serial numbers or WWNs
}

// ShownBy reads the labels of an inventory.
func ShownBy(inv *api.Inventory) Shown {
	return Shown{MACs: MACs(&Record{MAC: inv.MAC, Inventory: inv}), UUID: inv.UUID, Serial: inv.Serial, Disks: diskSerials(inv)}
}

// text is what identifies the machine, for people.
func (s Shown) text() string {
	var out []string
	if evidence.UUID(s.UUID) != "" {
		out = append(out, "UUID "+s.UUID)
	}
	if evidence.Serial(s.Serial) != "" {
		out = append(out, fmt.Sprintf("serial %.40q", s.Serial))
	}
	if len(out) == 0 {
		return "no UUID and no serial"
	}
	return strings.Join(out, " and ")
}

// Labels returns every label to look up for a machine that shows s.
func (s Shown) Labels() []string {
	return Compact(append(slices.Clone(s.MACs), UUIDLabel(s.UUID), SerialLabel(s.Serial)))
}

// Labels returns every label by which a machine is to be found, what counts
// most first: the operator's words, the beacon, then what it showed.
func Labels(m *Record) []string {
	labels := []string{NameLabel(m.Spec.Name)}
	if m.Awaited != nil && m.Awaited.Beacon != "" {
		labels = append(labels, BeaconLabel(m.Awaited.Beacon))
	}
	if m.Joined != "" {
		return nil
	}
	for _, ticket := range m.Tickets {
		labels = append(labels, labelTicket+ticket.Hash)
	}
	labels = append(labels, UUIDLabel(m.Spec.UUID), SerialLabel(m.Spec.Serial))
	if m.Inventory != nil {
		labels = append(labels, UUIDLabel(m.Inventory.UUID), SerialLabel(m.Inventory.Serial))
	}
	labels = append(append(labels, MACs(m)...), m.SharedMACs...)
	return Compact(append(labels, m.Spec.SharedMACs...))
}

// Compact drops what is empty or there before.
func Compact(labels []string) []string {
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
func MACs(m *Record) []string {
	macs := append([]string{m.MAC}, m.Spec.MACs...)
	if m.Inventory != nil {
		for _, n := range m.Inventory.NICs {
			if !evidence.MadeUp(n.MAC, n.Driver) && !evidence.SharedCard(n.MAC) {
				macs = append(macs, n.MAC)
			}
		}
	}
	return Compact(macs)
}

// NameLabel is the label of a name; case does not tell two machines apart.
func NameLabel(name string) string { return label(labelName, name) }

// BeaconLabel is the label of a beacon's token: its SHA-256, because labels are
// keys, and etcd writes the keys of a slow request into its log.
func BeaconLabel(token string) string {
	return labelBeacon + hashOf(token)
}

// SerialLabel is the label of a serial number; empty for one that identifies
// nothing.
func SerialLabel(serial string) string { return label(labelSerial, evidence.Serial(serial)) }

// UUIDLabel is the label of an SMBIOS UUID in any spelling, with one form for
// both byte orders; empty for one that identifies nothing.
func UUIDLabel(uuid string) string { return label(labelUUID, evidence.UUID(uuid)) }

// TicketLabel is the label of a boot ticket: its hash, as for a beacon.
func TicketLabel(ticket string) string { return labelTicket + hashOf(ticket) }

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func label(kind, text string) string {
	if text == "" {
		return ""
	}
	return kind + strings.ToLower(text)
}
