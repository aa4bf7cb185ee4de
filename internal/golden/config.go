package golden

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/disk"
)

// Config says what the disk is and how it boots. It is the config blob of
// the artifact; unknown fields are ignored so that newer images stay
// readable, missing required ones are errors.
type Config struct {
	Disk Disk `json:"disk"`
	// Firmware lists what can boot the disk by itself: "bios", "uefi".
	Firmware []string `json:"firmware,omitempty"`
	// Boot is nil when no Linux kernel was found or named: such an image is
	// written byte for byte and handed off by a reboot.
	Boot *Boot `json:"boot,omitempty"`
	// Decided lists what of the image decided how it boots, Doubts what nothing
	// in it decided.
	Decided []Decision `json:"decided,omitempty"`
	Doubts  []Doubt    `json:"doubts,omitempty"`
}

// Disk is the shape of the raw disk.
type Disk struct {
	Size       int64       `json:"size"`         // bytes, a multiple of SectorSize
	SectorSize int         `json:"sectorSize"`   // bytes, 512 or 4096
	ChunkSize  int64       `json:"chunkSize"`    // bytes
	Hash       string      `json:"hash"`         // of the chunks; see Algorithm
	Scheme     string      `json:"scheme"`       // "gpt", "mbr" or "none"
	ID         string      `json:"id,omitempty"` // GPT disk GUID or MBR signature
	Partitions []Partition `json:"partitions,omitempty"`
}

// Layout is what the image makes of a disk: this in the words of disks.
func (d Disk) Layout() disk.Layout {
	l := disk.Layout{Size: d.Size, Scheme: d.Scheme, TableID: d.ID}
	for _, p := range d.Partitions {
		l.Partitions = append(l.Partitions, disk.Partition{
			Number: p.Number, Start: p.Start, Size: p.Size, Type: p.Type, Label: p.Name, UUID: p.PartUUID,
			FileSystem: p.FileSystem, FSLabel: p.FSLabel,
		})
	}
	return l
}

// Partition is one entry of the image's partition table.
type Partition struct {
	Number     int    `json:"number"` // as Linux numbers it, from 1
	Start      int64  `json:"start"`  // bytes
	Size       int64  `json:"size"`   // bytes
	Type       string `json:"type"`   // GPT type GUID, or MBR type as 0xNN
	TypeName   string `json:"typeName,omitempty"`
	Name       string `json:"name,omitempty"`
	PartUUID   string `json:"partUUID,omitempty"`
	FileSystem string `json:"fileSystem,omitempty"` // "ext4", "xfs", "vfat", ...
	FSUUID     string `json:"fsUUID,omitempty"`
	FSLabel    string `json:"fsLabel,omitempty"`
}

// Boot is what is needed to enter the image without its own boot loader.
type Boot struct {
	Arch          string   `json:"arch"`              // "amd64" or "arm64"
	KernelRelease string   `json:"kernelRelease"`     // uname -r of the kernel layer
	Kernel        string   `json:"kernel,omitempty"`  // path inside the image; empty when it came from elsewhere
	Initrds       []string `json:"initrds,omitempty"` // paths inside the image, in order
	Cmdline       string   `json:"cmdline"`           // the image's own, without BOOT_IMAGE and initrd
	CmdlineFrom   string   `json:"cmdlineFrom,omitempty"`
	Root          Root     `json:"root"`
	// Initramfs is how an initramfs for this kernel must be packed: "zstd",
	// "gzip" for kernels that cannot unpack that, or "none".
	Initramfs string `json:"initramfs"`
	// Init is the absolute path of the first program, usually /sbin/init;
	// empty when the root, which could be read, has none.
	Init string `json:"init,omitempty"`
	// Instant is InstantReady when the system can be entered while its disk is
	// still being written, or why it cannot; empty: stored before that was asked.
	Instant string `json:"instant,omitempty"`
	// Undone are modules for which the image's modprobe.d has a command that does
	// more than load modules. A machine that loads one of them is not switched to
	// its system but enters it by kexec, whose initrd runs the command.
	Undone []string `json:"undone,omitempty"`
	// RootWork is what files of the image ask its own initrd to do with the root,
	// beside the command line; see InitrdWork.
	RootWork []string `json:"rootWork,omitempty"`
	// Handoff is how machines enter the system where no plan says otherwise:
	// what the operator wanted when the image was stored.
	Handoff string `json:"handoff,omitempty"`
}

// InstantReady is Boot.Instant of a system that has all that an instant
// handoff needs: nbd and device-mapper in its kernel, udev's rules for
// device-mapper, systemd, and no file system that it finds by a kernel's name.
const InstantReady = "ready"

// Root names the root file system.
type Root struct {
	Partition  int    `json:"partition"`  // number; 0 when the file system covers the whole disk
	FileSystem string `json:"fileSystem"` // "ext4", "xfs", ...
	UUID       string `json:"uuid,omitempty"`
	// Options are the mount options of the image's own fstab for /, so that
	// the switch mounts the root as a boot from the disk would.
	Options string `json:"options,omitempty"`
}

// Marshal writes the config in its one byte form.
func (c *Config) Marshal() ([]byte, error) { return json.Marshal(c) }

// ParseConfig reads and checks the config blob.
func ParseConfig(p []byte) (*Config, error) {
	var c Config
	if err := unmarshalOne(p, MaxConfigSize, &c); err != nil {
		return nil, fmt.Errorf("reading image config: %w", err)
	}
	if err := c.Disk.check(); err != nil {
		return nil, fmt.Errorf("reading image config: %w", err)
	}
	if c.Boot != nil {
		if _, ok := c.RootPartition(); !ok && c.Boot.Root.Partition != 0 {
			return nil, fmt.Errorf("reading image config: root is partition %d, which the disk does not have", c.Boot.Root.Partition)
		}
	}
	return &c, nil
}

// RootPartition returns the partition that holds the root file system.
func (c *Config) RootPartition() (Partition, bool) {
	if c.Boot == nil {
		return Partition{}, false
	}
	i := slices.IndexFunc(c.Disk.Partitions, func(p Partition) bool { return p.Number == c.Boot.Root.Partition })
	if i < 0 {
		return Partition{}, false
	}
	return c.Disk.Partitions[i], true
}

func (d *Disk) check() error {
	switch {
	case d.SectorSize != 512 && d.SectorSize != 4096:
		return fmt.Errorf("sector size %d, want 512 or 4096", d.SectorSize)
	case d.Size <= 0 || d.Size%int64(d.SectorSize) != 0:
		return fmt.Errorf("disk size %d is not a positive multiple of the sector size %d", d.Size, d.SectorSize)
	case !validChunkSize(d.ChunkSize):
		return fmt.Errorf("chunk size %d, want a power of two from %d to %d", d.ChunkSize, MinChunkSize, MaxChunkSize)
	}
	if _, err := ParseAlgorithm(d.Hash); err != nil {
		return err
	}
	for _, p := range d.Partitions {
		if p.Start < 0 || p.Size <= 0 || p.Start > d.Size || p.Size > d.Size-p.Start {
			return fmt.Errorf("partition %d (%d bytes at %d) lies outside the disk of %d bytes", p.Number, p.Size, p.Start, d.Size)
		}
	}
	return nil
}

func validChunkSize(n int64) bool {
	return n >= MinChunkSize && n <= MaxChunkSize && n&(n-1) == 0
}

// mountable are the root file systems that the agent has the modules for.
var mountable = []string{"ext2", "ext3", "ext4", "xfs", "btrfs"}

// Handoff foretells how a machine will leave the agent for this image, and
// why. The agent decides by what it finds on the disk; this is what an
// operator is told beforehand. Both switch_root and kexec read the mounted
// root, and kexec needs a kernel there.
func (c *Config) Handoff() (way, reason string) {
	switch b := c.Boot; {
	case b == nil:
		return "reboot", "no kernel found in the image"
	case !slices.Contains(mountable, b.Root.FileSystem):
		return "reboot", fmt.Sprintf("the root (%s) is no file system that the agent mounts", orUnknown(b.Root.FileSystem))
	case b.Init == "" && b.Kernel == "":
		return "reboot", "the image has neither a first program to switch to nor a kernel of its own"
	case b.Init == "":
		return "kexec", "the root has no first program to switch to; the image's own initrd may know one"
	case len(b.InitrdWork()) > 0 && b.Kernel == "":
		return "reboot", "the image's own initrd has work to do (" + strings.Join(b.InitrdWork(), ", ") +
			"), and the image has no kernel of its own"
	case len(b.InitrdWork()) > 0:
		return "kexec", "the image's own initrd has work to do: " + strings.Join(b.InitrdWork(), ", ")
	case b.Kernel == "":
		return "switch_root", "if the image has the modules of kernel " + b.KernelRelease + ", which is not its own; reboot otherwise"
	}
	return "switch_root", "the kernel that runs the agent is the image's own"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
