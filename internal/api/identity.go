package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Identity is what makes a clone its own machine. In the fleet its texts are
// templates, see `gild help identity`; an agent gets it with every value
// filled in. It may hold secrets: it is never part of a plan, a log or a
// machine's record, and goes only to the session that holds the plan.
type Identity struct {
	Hostname string `json:"hostname,omitempty"`
	// MachineID is "new" (the system makes its own at its first start; the
	// default), "keep", or 32 hex digits.
	MachineID string `json:"machineID,omitempty"`
	// SSHHostKeys is "new" (those of the image are removed and new ones made;
	// the default) or "keep".
	SSHHostKeys string `json:"sshHostKeys,omitempty"`
	// Network is written in the form that the system's own network manager
	// reads: networkd, netplan, NetworkManager or ifupdown.
	Network []Link   `json:"network,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	Search  []string `json:"search,omitempty"`
	// AuthorizedKeys are lines of authorized_keys by user, who must exist.
	AuthorizedKeys map[string][]string `json:"authorizedKeys,omitempty"`
	Files          []File              `json:"files,omitempty"`
	CloudInit      *CloudInit          `json:"cloudInit,omitempty"`
	// Credentials become systemd credentials, by name (systemd.exec(5)).
	Credentials map[string]string `json:"credentials,omitempty"`
	// NewIDs gives the file systems and the disk UUIDs of their own; fstab and
	// boot configuration follow.
	NewIDs bool `json:"newIDs,omitempty"`
	// Beacon sets up one call to the server at the first start. In the fleet "unit"
	// or "cloud-init" (phone_home) or "off"; empty is "unit" where the system has
	// systemd.
	Beacon string `json:"beacon,omitempty"`
	// BeaconURL is filled in by the server for the agent.
	BeaconURL string `json:"beaconURL,omitempty"`
}

// MaxIdentity bounds an identity as JSON, in bytes.
const MaxIdentity = 512 << 10

// Digest is what Plan.Identity and Receipt.Identity hold of a rendered
// identity: the SHA-256 of its JSON, as "sha256:" and hex. Server and agent
// each compute it from what they hold. It tells nothing of the secrets in an
// identity with a beacon, which has 128 random bits; it is shown to operators.
func (i Identity) Digest() string {
	// Marshalling strings, maps of strings and numbers cannot fail; keys of
	// maps are sorted.
	text, _ := json.Marshal(i)
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Link is one network interface of a clone.
type Link struct {
	// MAC or Name says which; both empty: the one that the agent came by.
	MAC       string   `json:"mac,omitempty"`
	Name      string   `json:"name,omitempty"`
	DHCP      bool     `json:"dhcp,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // CIDR: 10.0.0.5/24
	Gateway   string   `json:"gateway,omitempty"`
	MTU       int      `json:"mtu,omitempty"` // bytes; 0 leaves it
}

// File is one file to write below the new root.
type File struct {
	Path    string `json:"path"`              // absolute
	Content string `json:"content,omitempty"` // UTF-8
	Mode    string `json:"mode,omitempty"`    // octal; empty is 0644
	Owner   string `json:"owner,omitempty"`   // user, of the new system; empty is root
	Group   string `json:"group,omitempty"`
}

// CloudInit is a NoCloud seed (cloudinit.readthedocs.io, NoCloud datasource).
type CloudInit struct {
	UserData      string `json:"userData,omitempty"`
	MetaData      string `json:"metaData,omitempty"` // empty: instance-id and local-hostname are filled in
	NetworkConfig string `json:"networkConfig,omitempty"`
	VendorData    string `json:"vendorData,omitempty"`
}
