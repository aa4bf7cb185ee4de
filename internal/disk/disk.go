// Package disk has the values that say what a disk is.
package disk

// Disk is one whole disk of a machine.
type Disk struct {
	Name       string   `json:"name"`       // kernel name, "sda"
	Size       int64    `json:"size"`       // bytes
	SectorSize int      `json:"sectorSize"` // logical, bytes
	Model      string   `json:"model,omitempty"`
	Serial     string   `json:"serial,omitempty"`
	WWN        string   `json:"wwn,omitempty"`
	Path       string   `json:"path,omitempty"`      // where it is plugged in, as udev's by-path says it
	Transport  string   `json:"transport,omitempty"` // "nvme", "sata", "virtio", "usb", ...
	Removable  bool     `json:"removable,omitempty"`
	ReadOnly   bool     `json:"readOnly,omitempty"`
	Holds      []string `json:"holds,omitempty"` // what is on it now: "GPT, 3 partitions", "LVM2", ...
	// TableID is the GPT disk GUID or the MBR signature of what is on it now.
	TableID    string      `json:"tableID,omitempty"`
	Partitions []Partition `json:"partitions,omitempty"`
	// Unsealed says that LBA 0 is zero although a GPT is behind it: a flash
	// was begun and did not come to its end. Partitions are those of that GPT.
	Unsealed bool `json:"unsealed,omitempty"`
	// Damaged says why the partition table cannot be read: what is on the disk
	// is then not known.
	Damaged string `json:"damaged,omitempty"`
	// FileSystem and FSLabel are of a file system on the whole disk.
	FileSystem string `json:"fileSystem,omitempty"`
	FSLabel    string `json:"fsLabel,omitempty"`
	// Claims names whose data is on the disk or a partition of it, by a stable
	// code: see the Claim constants. Such a disk is not overwritten unless
	// the operator said so of it.
	Claims []string `json:"claims,omitempty"`
}

// Codes of Disk.Claims.
const (
	ClaimLVM     = "lvm"
	ClaimRAID    = "md"
	ClaimZFS     = "zfs"
	ClaimLUKS    = "luks"
	ClaimCeph    = "ceph"
	ClaimCluster = "cluster" // OCFS2, GFS2, VMFS, DRBD: file systems of several machines
	ClaimCache   = "bcache"
)

// Partition is one partition on a disk of a machine, or of an image.
type Partition struct {
	Number     int    `json:"number"`          // as Linux numbers it, from 1
	Start      int64  `json:"start"`           // bytes
	Size       int64  `json:"size"`            // bytes
	Type       string `json:"type,omitempty"`  // GPT type GUID, or MBR type as 0xNN
	Label      string `json:"label,omitempty"` // GPT partition name
	FileSystem string `json:"fileSystem,omitempty"`
	FSLabel    string `json:"fsLabel,omitempty"`
	// UUID is the PARTUUID: a GUID in lower case, or "xxxxxxxx-NN" for MBR.
	UUID string `json:"uuid,omitempty"`
	// Claims are what Disk.Claims says, of this partition alone.
	Claims []string `json:"claims,omitempty"`
}

// Layout is what an image makes of a disk.
type Layout struct {
	Size       int64  // bytes, from the disk's first on
	Scheme     string // "gpt", "mbr" or "none"
	TableID    string // GPT disk GUID or MBR signature: Disk.TableID of a disk with this image
	Partitions []Partition
}
