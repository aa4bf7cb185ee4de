// Package ordertest has the machine that tests of an order are about.
package ordertest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// What the machine and its disk, and others, are known by.
const (
	UUID      = "4c4c4544-0042-3510-8052-b4c04f4e3332"
	OtherUUID = "4c4c4544-0042-3510-8052-b4c04f4e3333"
	MAC       = "52:54:00:00:00:01"
	DiskSize  = 8 << 20 // bytes
)

// Machine is the machine that is there.
func Machine() api.Inventory {
	return api.Inventory{
		MAC: MAC, UUID: UUID, Serial: "F4K3N12", Firmware: "uefi", Arch: "amd64", CPUs: 1,
		NICs: []api.NIC{{Name: "eth0", MAC: MAC}},
	}
}

// Disk is its disk, without a size.
func Disk() api.Disk {
	return api.Disk{
		Name: "sda", Serial: "S4EW0123", WWN: "0x5002538d40c9a3f1", Path: "pci-0000:00:17.0-ata-1", Model: "Samsung 870",
		Transport: "sata",
	}
}

// OtherDisk is one in the same place that is another.
func OtherDisk() api.Disk {
	d := Disk()
	d.Serial, d.WWN = "S4EW0999", "0x5002538d40c9a999"
	return d
}

// Agreed is what the operator agreed to: just what is there.
func Agreed() api.Agreed {
	m, d := Machine(), Disk()
	return api.Agreed{UUID: m.UUID, Serial: m.Serial, MACs: []string{m.MAC}, Disk: &api.AgreedDisk{
		Name: d.Name, Serial: d.Serial, WWN: d.WWN, Path: d.Path, Size: DiskSize, Model: d.Model,
	}}
}

// OnAnotherDisk has something write to a disk whose name has become another's
// since it was chosen, and to one in a machine whose board was replaced, with
// and without the operator having seen the disk. write returns its error with
// its cause; nothing may be written.
func OnAnotherDisk(t *testing.T, name string, write func(*machine.Played, *api.Plan, api.Disk, *golden.Image) (cause string, err error)) {
	t.Helper()
	for _, unseen := range []bool{false, true} {
		file := filepath.Join(t.TempDir(), "disk")
		before := bytes.Repeat([]byte{7}, DiskSize)
		if err := os.WriteFile(file, before, 0o600); err != nil {
			t.Fatal(err)
		}
		plan := api.Plan{ID: "p", Grow: true, Agreed: Agreed()}
		if unseen {
			plan.Agreed = api.Agreed{Unseen: true}
		}
		disk := Disk()
		disk.Size, disk.SectorSize = DiskSize, 512
		host := &machine.Played{Is: Machine(), File: file, Drive: OtherDisk()}
		image := &golden.Image{
			Config: &golden.Config{Disk: golden.Disk{Size: 4 << 20, SectorSize: 512}, Boot: &golden.Boot{}}, Table: &golden.Table{},
		}
		cause, err := write(host, &plan, disk, image)
		if err == nil || cause != api.CauseOtherDisk || !strings.Contains(err.Error(), OtherDisk().Serial) {
			t.Errorf("%s (unseen: %v) on another disk = %v; want %s", name, unseen, err, api.CauseOtherDisk)
		}
		host.Drive = Disk()
		host.Is.UUID = OtherUUID
		plan.Agreed.UUID = UUID
		if cause, err := write(host, &plan, disk, image); cause != api.CauseOtherMachine {
			t.Errorf("%s (unseen: %v) on another machine = %v; want %s", name, unseen, err, api.CauseOtherMachine)
		}
		if after, _ := os.ReadFile(file); !bytes.Equal(after, before) {
			t.Errorf("%s has written to another disk", name)
		}
	}
}
