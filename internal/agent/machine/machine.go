// Package machine is the computer that the agent runs on.
package machine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Machine reads what the kernel knows of the computer.
type Machine struct {
	Sys, Proc string // where sysfs and proc(5) are mounted
}

// Here is the machine that this process runs on.
var Here = Machine{Sys: "/sys", Proc: "/proc"}

// Bounds of an inventory.
const (
	maxText = 128 // bytes of one text from the firmware
	maxList = 64  // disks, and NICs
	// A hello with that many partitions is half of what the server reads.
	maxPartitions = 1024 // of all disks
)

// Inventory gathers everything. What cannot be read is left out: a hello with
// half an inventory is better than none.
func (m Machine) Inventory(mac string) api.Inventory {
	inv := m.Labels(mac)
	inv.Vendor, inv.Product = m.dmi("sys_vendor"), m.dmi("product_name")
	inv.Firmware, inv.Kernel, inv.Arch = "bios", Kernel(), runtime.GOARCH
	inv.Disks = m.Disks()
	if _, err := os.Stat(filepath.Join(m.Sys, "firmware/efi")); err == nil {
		inv.Firmware = "uefi"
	}
	left := maxPartitions
	for i, d := range inv.Disks {
		inv.Disks[i].Partitions = d.Partitions[:min(len(d.Partitions), left)]
		left -= len(inv.Disks[i].Partitions)
	}
	inv.CPU, inv.CPUs = m.cpu()
	inv.Memory = m.memory()
	return inv
}

// Labels is the part of an inventory that tells one machine from another: UUID,
// serial, addresses. It asks no disk.
func (m Machine) Labels(mac string) api.Inventory {
	return api.Inventory{MAC: mac, UUID: strings.ToLower(m.dmi("product_uuid")), Serial: m.dmi("product_serial"), NICs: m.nics()}
}

// Nameplate is the part of an inventory that a person knows a machine by. It
// asks no device, which might not answer.
func (m Machine) Nameplate() api.Inventory {
	return api.Inventory{Vendor: m.dmi("sys_vendor"), Product: m.dmi("product_name"), Serial: m.dmi("product_serial")}
}

// Text reads a small file of sysfs.
func Text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(screen.Clean(string(bytes.TrimSpace(b))))
	return s[:min(len(s), maxText)]
}

// dmi reads an SMBIOS text, which the kernel has parsed already. Words that a
// vendor forgot to replace say nothing.
func (m Machine) dmi(name string) string {
	s := Text(filepath.Join(m.Sys, "class/dmi/id", name))
	switch strings.ToLower(strings.Trim(s, " .")) {
	case "to be filled by o.e.m", "default string", "not specified", "system serial number", "none", "0",
		"00000000-0000-0000-0000-000000000000":
		return ""
	}
	return s
}

func (m Machine) cpu() (model string, n int) {
	b, _ := os.ReadFile(filepath.Join(m.Proc, "cpuinfo"))
	for line := range strings.SplitSeq(string(b), "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "processor":
			n++
		case "model name":
			model = strings.TrimSpace(screen.Clean(value))
		}
	}
	return model[:min(len(model), maxText)], max(n, 1)
}

func (m Machine) memory() int64 {
	b, _ := os.ReadFile(filepath.Join(m.Proc, "meminfo"))
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				kib, _ := strconv.ParseInt(f[0], 10, 64)
				return kib << 10
			}
		}
	}
	return 0
}

// Disks lists the disks with what is on them, which is only looked at.
func (m Machine) Disks() []api.Disk {
	list, err := blockdev.List(blockdev.ListOptions{Sys: m.Sys})
	if err != nil {
		return nil
	}
	var disks []api.Disk
	for _, info := range list[:min(len(list), maxList)] {
		d := apiDisk(info)
		if f, err := os.Open(info.Path); err == nil {
			d.Holds = blockdev.Signatures(f, info.Size)
			AddContent(&d, f)
			f.Close()
		}
		disks = append(disks, d)
	}
	return disks
}

func apiDisk(i blockdev.Info) api.Disk {
	return api.Disk{
		Name: i.Name, Size: i.Size, SectorSize: i.SectorSize, Model: strings.TrimSpace(i.Vendor + " " + i.Model), Serial: i.Serial,
		WWN: i.WWN, Path: i.ByPath, Transport: i.Transport, Removable: i.Removable, ReadOnly: i.ReadOnly,
	}
}

// AddContent completes what is known of a disk by what r, the disk, holds.
func AddContent(d *api.Disk, r io.ReaderAt) {
	c := blockdev.ReadContent(r, d.Size, d.SectorSize)
	d.TableID, d.Unsealed, d.Damaged, d.Claims = c.TableID, c.Unsealed, shown(c.Damaged), c.Claims
	d.FileSystem, d.FSLabel = c.FileSystem, shown(c.Label)
	d.Partitions = nil
	for _, p := range c.Partitions {
		d.Partitions = append(d.Partitions, api.Partition{
			Number: p.Number, Start: p.Start, Size: p.Size, Type: p.Type, Label: shown(p.Name), UUID: p.GUID,
			FileSystem: p.FileSystem, FSLabel: shown(p.Label), Claims: p.Claims,
		})
	}
}

// shown makes a text that somebody wrote onto a disk fit to be passed on.
func shown(s string) string {
	s = screen.Clean(s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}

func (m Machine) nics() []api.NIC {
	entries, _ := os.ReadDir(filepath.Join(m.Sys, "class/net"))
	var nics []api.NIC
	for _, e := range entries {
		dir := filepath.Join(m.Sys, "class/net", e.Name())
		driver, err := os.Readlink(filepath.Join(dir, "device/driver"))
		if err != nil || len(nics) >= maxList {
			continue // no hardware behind it
		}
		nics = append(nics, api.NIC{
			Name: e.Name(), MAC: Text(filepath.Join(dir, "address")), Driver: filepath.Base(driver),
			Carrier: Text(filepath.Join(dir, "carrier")) == "1",
		})
	}
	return nics
}
