package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestArgs(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		fw   firmwareFiles
	}{
		{name: "defaults"},
		{name: "disks", cfg: Config{
			Accel: KVM, Memory: 512, CPUs: 1, NoReboot: true,
			Disks: []Disk{
				{Path: "/a,b.raw", Serial: "WD-1"},
				{Path: "/b.qcow2", Format: "qcow2", Bus: SATA, Snapshot: true},
				{Path: "/c.raw", Bus: NVMe, SectorSize: 4096},
				{Path: "/d.raw", Bus: SCSI, SectorSize: 4096},
				{Path: "/e.raw", WriteLog: "/e,log"},
			},
		}},
		{name: "netboot", cfg: Config{
			NICs: []NIC{
				{Model: "e1000", MAC: "52:54:00:00:00:01", Tap: "tap0", BootROM: true},
				{Netdev: "user,restrict=on"},
				{},
			},
			Disks:     []Disk{{Path: "/a.raw"}},
			BootOrder: []string{"nic0", "disk0"},
			Extra:     []string{"-smbios", "type=1,serial=7"},
		}},
		{
			name: "uefi",
			cfg:  Config{Firmware: UEFI, AllInstructions: true, Kernel: "/vmlinuz", Initrd: "/initrd", Cmdline: "console=ttyS0 a=b,c"},
			fw:   firmwareFiles{code: "/code.fd", vars: "/vars.fd"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args, err := tt.cfg.args(tt.fw)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.Join(args, " "), " -", "\n-") + "\n" // an option a line
			golden := filepath.Join("testdata", "args", tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArgsRefuses(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"accelerator", Config{Accel: "xen"}, `accelerator "xen"`},
		{"bus", Config{Disks: []Disk{{Path: "a", Bus: "floppy"}}}, `bus "floppy"`},
		{"no path", Config{Disks: []Disk{{}}}, "no path"},
		{"log of a snapshot", Config{Disks: []Disk{{Path: "a", Snapshot: true, WriteLog: "b"}}}, "thrown away"},
		{"sata with 4096", Config{Disks: []Disk{{Path: "a", Bus: SATA, SectorSize: 4096}}}, "512-byte sectors"},
		{"unknown boot device", Config{BootOrder: []string{"nic0"}}, `no device "nic0"`},
		{"boot device twice", Config{Disks: []Disk{{Path: "a"}}, BootOrder: []string{"disk0", "disk0"}}, "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.cfg.args(firmwareFiles{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("args() = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestFirmwarePrepare(t *testing.T) {
	dir := t.TempDir()
	template := firmwareFiles{code: filepath.Join(dir, "code"), vars: filepath.Join(dir, "template")}
	absent := firmwareFiles{code: filepath.Join(dir, "no"), vars: filepath.Join(dir, "no")}

	if _, err := UEFI.prepare([]firmwareFiles{absent}, "", dir); err == nil || !strings.Contains(err.Error(), "apt install ovmf") {
		t.Errorf("prepare without firmware = %v; want a hint to install it", err)
	}
	for _, path := range []string{template.code, template.vars} {
		if err := os.WriteFile(path, []byte("empty store"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(dir, "kept")
	got, err := UEFI.prepare([]firmwareFiles{absent, template}, kept, dir)
	if want := (firmwareFiles{code: template.code, vars: kept}); err != nil || got != want {
		t.Fatalf("prepare = %+v, %v; want %+v", got, err, want)
	}
	if err := os.WriteFile(kept, []byte("boot order set"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := UEFI.prepare([]firmwareFiles{template}, kept, dir); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(kept); string(data) != "boot order set" {
		t.Errorf("a second boot got the variables %q; want what the first one stored", data)
	}
}
