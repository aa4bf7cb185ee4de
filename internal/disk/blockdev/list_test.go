package blockdev

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListFake(t *testing.T) {
	root := t.TempDir()
	const (
		sda    = "devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda"
		sdb    = "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/1-1.2:1.0/host4/target4:0:0/4:0:0:0/block/sdb"
		sdc    = "devices/pci0000:00/0000:00:05.0/virtio2/host5/target5:0:1/5:0:1:0/block/sdc"
		nvme   = "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/nvme0n1"
		hidden = "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0c0n1"
		vda    = "devices/pci0000:00/0000:00:04.0/virtio1/block/vda"
		mmc    = "devices/platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0"
		lo     = "devices/virtual/block/loop0"
		cciss  = "devices/pci0000:00/0000:03:00.0/cciss0/c0d0/block/cciss!c0d0"
	)
	files := map[string]string{
		sda + "/dev": "8:0\n", sda + "/size": "7814037168\n", sda + "/queue/logical_block_size": "512\n",
		sda + "/queue/rotational": "1\n", sda + "/device/vendor": "ATA     \n", sda + "/device/model": "ST4000NM \x1b[31m<b>\n",
		sda + "/device/wwid": "naa.5000c500a1b2c3d4\n", sda + "/device/vpd_pg80": "\x00\x80\x00\x08   Z1Z2X\x00\x00",
		"devices/pci0000:00/0000:00:1f.2/ata3/ata_port/ata3/port_no": "2\n",
		sdb + "/dev": "8:16\n", sdb + "/size": "62333952\n", sdb + "/removable": "1\n", sdb + "/ro": "1\n", sdb + "/device/model": "Flash Disk\n",
		"devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/idVendor": "0781\n",
		"devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/serial":   "4C530001\n",
		sdc + "/dev": "8:32\n", sdc + "/size": "2048\n", sdc + "/device/wwid": "t10.QEMU HARDDISK drive0\n",
		nvme + "/dev": "259:0\n", nvme + "/size": "976773168\n", nvme + "/queue/logical_block_size": "4096\n",
		nvme + "/wwid": "eui.0025385b71b0e6b2\n", nvme + "/device/model": "Samsung SSD 970\n", nvme + "/device/serial": "S466NX0K\n",
		hidden + "/dev": "0:0\n", hidden + "/size": "976773168\n", hidden + "/hidden": "1\n",
		vda + "/dev": "254:0\n", vda + "/size": "4194304\n", vda + "/serial": "gild-1\n", vda + "/device/vendor": "0x1af4\n",
		mmc + "/dev": "179:0\n", mmc + "/size": "30535680\n", mmc + "/device/name": "SC16G\n", mmc + "/device/serial": "0x1234abcd\n",
		lo + "/dev": "7:0\n", lo + "/size": "2048\n",
		cciss + "/dev": "104:0\n", cciss + "/size": "2048\n",
	}
	for _, path := range []string{sda, sdb, sdc, nvme, hidden, vda, mmc, lo, cciss} {
		files["block/"+filepath.Base(path)] = "->" + path
	}
	for _, name := range []string{"ram0", "zram0", "dm-0", "md127", "sr0", "fd0", "mtdblock0", "nbd0", "mmcblk0boot0", "mmcblk0rpmb"} {
		files["devices/virtual/block/"+name+"/size"] = "2048\n"
		files["block/"+name] = "->devices/virtual/block/" + name
	}
	for name, size := range map[string]string{"sdd": "0\n", "sde": "junk\n", "sdf": "-8\n", "sdg": "9223372036854775807\n", "sdh": ""} {
		files["devices/virtual/block/"+name+"/size"] = size
		files["block/"+name] = "->devices/virtual/block/" + name
	}
	files["block/sdi"] = "->devices/gone"
	tree(t, root, files)

	got, err := List(ListOptions{Sys: root, Dev: "/dev", Loop: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []Info{
		{Name: "cciss!c0d0", Path: "/dev/cciss/c0d0", Number: "104:0", Size: mib, SectorSize: 512},
		{Name: "loop0", Path: "/dev/loop0", Number: "7:0", Size: mib, SectorSize: 512, Transport: "loop"},
		{
			Name: "mmcblk0", Path: "/dev/mmcblk0", Number: "179:0", Size: 30535680 * 512, SectorSize: 512,
			Model: "SC16G", Serial: "0x1234abcd", Transport: "mmc",
		},
		{
			Name: "nvme0n1", Path: "/dev/nvme0n1", Number: "259:0", Size: 976773168 * 512, SectorSize: 4096,
			Model: "Samsung SSD 970", Serial: "S466NX0K", WWN: "eui.0025385b71b0e6b2", Transport: "nvme", ByPath: "pci-0000:02:00.0-nvme-1",
		},
		{
			Name: "sda", Path: "/dev/sda", Number: "8:0", Size: 7814037168 * 512, SectorSize: 512,
			Vendor: "ATA", Model: "ST4000NM [31m<b>", Serial: "Z1Z2X", WWN: "0x5000c500a1b2c3d4",
			Transport: "sata", ByPath: "pci-0000:00:1f.2-ata-2", Rotational: true,
		},
		{
			Name: "sdb", Path: "/dev/sdb", Number: "8:16", Size: 62333952 * 512, SectorSize: 512,
			Model: "Flash Disk", Serial: "4C530001", Transport: "usb", ByPath: "pci-0000:00:14.0-usb-0:1.2:1.0-scsi-0:0:0:0",
			Removable: true, ReadOnly: true,
		},
		{Name: "sdc", Path: "/dev/sdc", Number: "8:32", Size: mib, SectorSize: 512, Transport: "virtio"},
		{
			Name: "vda", Path: "/dev/vda", Number: "254:0", Size: 4194304 * 512, SectorSize: 512,
			Serial: "gild-1", Transport: "virtio", ByPath: "pci-0000:00:04.0",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
	got, err = List(ListOptions{Sys: root})
	if err != nil || len(got) != len(want)-1 {
		t.Errorf("without loop devices: %d disks, %v; want %d", len(got), err, len(want)-1)
	}
	if _, err := List(ListOptions{Sys: t.TempDir()}); err == nil {
		t.Error("List without sysfs succeeded")
	}
}

// TestListAgainstLsblk compares with util-linux on the machine that the test
// runs on.
func TestListAgainstLsblk(t *testing.T) {
	if _, err := os.Stat("/sys/block"); err != nil {
		t.Skip("no sysfs here")
	}
	var out struct {
		Blockdevices []struct {
			Name, Path, Type string
			Number           string `json:"maj:min"`
			Size             int64
			Sector           int `json:"log-sec"`
			RO               bool
			Model, Serial    string
		}
	}
	text := run(t, "", "lsblk", "--json", "--bytes", "--nodeps", "-o", "NAME,PATH,TYPE,MAJ:MIN,SIZE,LOG-SEC,RO,MODEL,SERIAL")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	disks, err := List(ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Info{}
	for _, d := range disks {
		got[d.Name] = Info{
			Name: d.Name, Path: d.Path, Number: d.Number, Size: d.Size, SectorSize: d.SectorSize, ReadOnly: d.ReadOnly,
			Model: d.Model, Serial: d.Serial,
		}
	}
	want := map[string]Info{}
	for _, b := range out.Blockdevices {
		if b.Type == "disk" && b.Size > 0 && !strings.HasPrefix(b.Name, "zram") {
			if b.Serial == "" { // lsblk knows few serials where no udev runs
				b.Serial = got[b.Name].Serial
			}
			want[b.Name] = Info{
				Name: b.Name, Path: b.Path, Number: b.Number, Size: b.Size, SectorSize: b.Sector, ReadOnly: b.RO, Model: b.Model,
				Serial: b.Serial,
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() (-lsblk +List):\n%s", diff)
	}
}
