package machine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

func TestInventoryFromFiles(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/class/dmi/id/product_uuid": "ABCD-1\n", "sys/class/dmi/id/product_serial": "To Be Filled By O.E.M.\n",
		"sys/class/dmi/id/sys_vendor": "Evil\x1b[2J\n", "sys/firmware/efi/fw_platform_size": "64\n",
		"proc/cpuinfo": "processor : 0\nmodel name : Fast\nprocessor : 1\nmodel name : Fast\n", "proc/meminfo": "MemTotal:  1024 kB\n",
		"sys/class/net/eth0/address": "52:54:00:00:00:01\n", "sys/class/net/eth0/carrier": "1\n",
		"sys/class/net/lo/address": "00:00:00:00:00:00\n",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	driver := filepath.Join(root, "sys/class/net/eth0/device/driver")
	if err := errors.Join(os.MkdirAll(filepath.Dir(driver), 0o755), os.Symlink("../../bus/drivers/e1000", driver)); err != nil {
		t.Fatal(err)
	}
	got := Machine{Sys: filepath.Join(root, "sys"), Proc: filepath.Join(root, "proc")}.Inventory("m")
	if got.UUID != "abcd-1" || got.Serial != "" || got.Vendor != "Evil?[2J" || got.Firmware != "uefi" || got.CPU != "Fast" || got.CPUs != 2 ||
		got.Memory != 1<<20 {
		t.Errorf("Inventory() = %+v", got)
	}
	want := api.NIC{Name: "eth0", MAC: "52:54:00:00:00:01", Driver: "e1000", Carrier: true}
	if len(got.NICs) != 1 || got.NICs[0] != want {
		t.Errorf("Inventory() NICs = %+v; want %+v", got.NICs, want)
	}
}
