package blockdev

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/printable"
)

// Info describes a whole disk. Texts come from the hardware: they are trimmed,
// bounded and free of control characters, and mean nothing more than that.
type Info struct {
	Name       string // kernel name: "sda"
	Path       string // "/dev/sda"
	Number     string // "8:0"
	Size       int64  // bytes
	SectorSize int    // logical, bytes
	Vendor     string
	Model      string
	Serial     string
	WWN        string // "0x5000c500a1b2c3d4", "eui.0025385b71b0e6b2"
	Transport  string // "nvme", "sata", "sas", "usb", "virtio", "scsi", "mmc", "loop", ... or empty
	// the name below /dev/disk/by-path where sysfs tells it:
	// "pci-0000:00:1f.2-ata-1"
	ByPath     string
	Removable  bool
	ReadOnly   bool
	Rotational bool
}

// ListOptions says where [List] looks and what it shows.
type ListOptions struct {
	Sys  string // mount point of sysfs: "/sys" when empty
	Dev  string // directory of the device nodes: "/dev" when empty
	Loop bool   // show attached loop devices
}

// List gives the disks that an image could be written to, in the order of the
// kernel's names. It leaves out what has no size and what is no disk of its
// own: RAM disks, device-mapper, md, optical and floppy drives, raw flash, the
// boot areas of eMMC, hidden paths of multipath NVMe.
func List(opts ListOptions) ([]Info, error) {
	sys, dev := cmp.Or(opts.Sys, "/sys"), cmp.Or(opts.Dev, "/dev")
	entries, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return nil, fmt.Errorf("listing disks (is %s mounted?): %w", sys, err)
	}
	var disks []Info
	for _, e := range entries {
		name := e.Name()
		if !isDisk(name) || strings.HasPrefix(name, "loop") && !opts.Loop {
			continue
		}
		dir, err := filepath.EvalSymlinks(filepath.Join(sys, "block", name))
		if err != nil {
			continue // unplugged since the directory was read
		}
		sectors, err := strconv.ParseInt(attr(dir, "size"), 10, 64)
		if err != nil || sectors <= 0 || sectors > 1<<54 || attr(dir, "hidden") == "1" {
			continue
		}
		info := describe(dir)
		info.Name = name
		// The kernel writes "!" for the "/" of names such as cciss/c0d0.
		info.Path = filepath.Join(dev, strings.ReplaceAll(name, "!", "/"))
		info.Size = sectors * 512 // sysfs counts in 512 bytes whatever the sector size
		disks = append(disks, info)
	}
	return disks, nil
}

func isDisk(name string) bool {
	for _, prefix := range []string{"ram", "zram", "dm-", "md", "sr", "fd", "mtdblock", "nbd"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return false
		}
	}
	// mmcblk0boot0, mmcblk0boot1 and mmcblk0rpmb are areas of mmcblk0 that hold
	// firmware.
	return !strings.HasPrefix(name, "mmcblk") || !strings.Contains(name, "boot") && !strings.Contains(name, "rpmb")
}

func describe(dir string) Info {
	device := filepath.Join(dir, "device")
	sector, err := strconv.Atoi(attr(dir, "queue/logical_block_size"))
	if err != nil {
		sector = 512
	}
	info := Info{
		Number:     attr(dir, "dev"),
		SectorSize: sector,
		Vendor:     clean(attr(device, "vendor")),
		Model:      clean(first(attr(device, "model"), attr(device, "name"))),
		WWN:        wwn(first(attr(dir, "wwid"), attr(device, "wwid"))),
		Transport:  transport(dir),
		ByPath:     byPath(dir),
		Removable:  attr(dir, "removable") == "1",
		ReadOnly:   attr(dir, "ro") == "1",
		Rotational: attr(dir, "queue/rotational") == "1",
	}
	// virtio-blk has its own serial; nvme and mmc one on the device; SCSI in a page
	// of its inquiry.
	serial := first(attr(dir, "serial"), attr(device, "serial"), unitSerial(filepath.Join(device, "vpd_pg80")))
	if serial == "" && info.Transport == "usb" {
		serial = usbSerial(dir)
	}
	info.Serial = clean(serial)
	if strings.HasPrefix(info.Vendor, "0x") { // a PCI number, as virtio has it, not a name
		info.Vendor = ""
	}
	return info
}

func first(candidates ...string) string {
	for _, s := range candidates {
		if s != "" {
			return s
		}
	}
	return ""
}

// clean makes a text of the hardware fit to be shown and compared.
func clean(s string) string {
	const limit = 128
	return strings.TrimSpace(printable.Drop(s[:min(len(s), limit)]))
}

// wwn writes a world wide name as lsblk and /dev/disk/by-id do. An identifier
// that is not one, such as SCSI's "t10." with vendor and serial, gives none.
func wwn(wwid string) string {
	wwid = clean(wwid)
	if naa, ok := strings.CutPrefix(wwid, "naa."); ok {
		return "0x" + naa
	}
	if strings.HasPrefix(wwid, "eui.") || strings.HasPrefix(wwid, "uuid.") || strings.HasPrefix(wwid, "nvme.") {
		return wwid
	}
	return ""
}

// unitSerial reads the unit serial number page of SCSI (SPC-4, 7.8.15): a
// header of four bytes with the length in the last two, then ASCII.
func unitSerial(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 4 || b[1] != 0x80 {
		return ""
	}
	n := int(b[2])<<8 | int(b[3])
	return string(b[4:min(len(b), 4+n)])
}

// usbSerial finds the serial of the USB device that a disk hangs on.
func usbSerial(dir string) string {
	for d := filepath.Dir(dir); len(d) > 1; d = filepath.Dir(d) {
		if attr(d, "idVendor") != "" {
			return attr(d, "serial")
		}
	}
	return ""
}

// transport reads the path of a disk in sysfs, which runs through every bus
// between. The bus that is nearest to the machine wins: an ATA disk in a USB
// case is "usb".
func transport(dir string) string {
	name := filepath.Base(dir)
	for _, kind := range []struct{ part, name string }{
		{"/usb", "usb"},
		{"/nvme", "nvme"},
		{"/mmc_host/", "mmc"},
		{"/virtio", "virtio"},
		{"/ata", "sata"},
		{"/end_device-", "sas"},
		{"/session", "iscsi"},
		{"/rport-", "fc"},
		{"/host", "scsi"},
		{"/vbd-", "xen"},
	} {
		if strings.Contains(dir, kind.part) {
			return kind.name
		}
	}
	if strings.HasPrefix(name, "loop") {
		return "loop"
	}
	return ""
}

// byPath derives the name that udev's path_id gives a disk, for the buses where
// sysfs tells it.
func byPath(dir string) string {
	parts := strings.Split(dir, "/")
	pci, at := "", -1
	for i, p := range parts {
		if isPCI(p) {
			pci, at = "pci-"+p, i
		}
	}
	if at < 0 {
		return ""
	}
	usb, ata := "", ""
	for i, p := range parts[at+1:] {
		sub := strings.Join(parts[:at+2+i], "/")
		switch {
		case strings.HasPrefix(p, "usb") && usb == "":
			usb = "?"
		case usb != "" && strings.Contains(p, ":") && strings.Contains(p, "-"): // interface "1-1.2:1.0"
			if _, port, ok := strings.Cut(p, "-"); ok {
				usb = "-usb-0:" + port
			}
		case strings.HasPrefix(p, "ata"):
			ata = attr(filepath.Join(sub, "ata_port", p), "port_no")
		case strings.HasPrefix(p, "target"):
			return scsiByPath(pci, usb, ata, parts[len(parts)-3])
		}
	}
	name := parts[len(parts)-1]
	if rest, ok := strings.CutPrefix(name, "nvme"); ok {
		if _, ns, ok := strings.Cut(rest, "n"); ok {
			return pci + "-nvme-" + ns
		}
	}
	if len(parts) > at+1 && strings.HasPrefix(parts[at+1], "virtio") {
		return pci
	}
	return ""
}

// scsiByPath completes the path of a SCSI disk with address
// "host:channel:target:lun". Without a better name for the host there is none:
// host numbers change from boot to boot.
func scsiByPath(pci, usb, ata, address string) string {
	_, rest, _ := strings.Cut(address, ":")
	switch {
	case usb != "" && usb != "?":
		return pci + usb + "-scsi-0:" + rest
	case ata != "":
		return pci + "-ata-" + ata
	}
	return ""
}

// isPCI recognises an address such as 0000:00:1f.2.
func isPCI(s string) bool {
	if len(s) != 12 || s[4] != ':' || s[7] != ':' || s[10] != '.' {
		return false
	}
	for i, c := range []byte(s) {
		if i != 4 && i != 7 && i != 10 && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}
