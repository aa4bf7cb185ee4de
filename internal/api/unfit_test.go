package api

import (
	"strings"
	"testing"
)

func TestUnfit(t *testing.T) {
	uefi := &Inventory{Firmware: "uefi", Arch: "amd64", Kernel: "6.1"}
	for name, tt := range map[string]struct {
		image Image
		is    *Inventory
		want  string // of the one thing that is said; "": nothing is
	}{
		"never seen":       {Image{Firmware: []string{"bios"}}, nil, ""},
		"firmware unknown": {Image{Firmware: []string{"bios"}}, &Inventory{}, ""},
		"both":             {Image{Firmware: []string{"bios", "uefi"}}, uefi, ""},
		"the other": {
			Image{Firmware: []string{"bios"}},
			uefi,
			"will not start from this disk: its firmware is UEFI, and the image starts by BIOS only",
		},
		"none":              {Image{}, uefi, "its firmware is UEFI, and the image has no boot loader for any firmware"},
		"damaged":           {Image{Damage: "lost"}, uefi, ""},
		"another processor": {Image{Firmware: []string{"uefi"}, Arch: "arm64"}, uefi, "the image is for arm64, the machine is amd64"},
	} {
		got := strings.Join(tt.image.Unfit(tt.is), "; ")
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q; want %q", name, got, tt.want)
		}
	}
}
