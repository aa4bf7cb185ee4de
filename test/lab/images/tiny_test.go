package images

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/tier"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab/host"
)

// The premise of what is tested with tiny images: whole they say so with either
// firmware, and damaged they say that.
func TestTiny(t *testing.T) {
	tier.Slow(t, "boots virtual machines")
	host.Need(t, "qemu-system-x86_64")
	cache, err := host.Cache()
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Cache: cache}
	spec := TinySpec{Name: "TINY", Lead: 1 << 20, Fill: 24 << 20, Seed: 1}
	tiny, err := b.Tiny(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	choice, err := b.Accel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.raw")
	image, err := os.ReadFile(tiny.Disk)
	if err != nil {
		t.Fatal(err)
	}
	image[tinyEnd-1] ^= 1 // free space of the FAT, where nothing but the sum would notice
	if err := os.WriteFile(damaged, image, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		firmware   vm.Firmware
		disk, want string
	}{
		{vm.BIOS, damaged, spec.Broken()},
		{vm.UEFI, tiny.Disk, spec.Whole()},
	} {
		t.Run(string(tt.firmware), func(t *testing.T) {
			m, err := vm.Start(t.Context(), vm.Config{
				Accel: choice.Accel, Firmware: tt.firmware, Memory: 512, NoReboot: true,
				Disks: []vm.Disk{{Path: tt.disk, Snapshot: true}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			for _, want := range []string{spec.Loaded(), spec.Started(), tt.want} {
				found, _, err := m.Console.Expect(ctx, want, spec.Whole(), spec.Broken(), "Kernel panic", "grub>", "grub rescue>")
				if err != nil || found != want {
					t.Fatalf("the console says %q, %v; want %q", found, err, want)
				}
			}
			if err := m.Wait(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
