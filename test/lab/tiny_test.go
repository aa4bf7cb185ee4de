package lab

import (
	"context"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/vm"
)

// The premise of what is tested with tiny images: whole they say so with either firmware, and damaged they say that.
func TestTiny(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines: not with -short")
	}
	Need(t, "qemu-system-x86_64")
	cache, err := CacheDir()
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
	for _, fw := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		t.Run(string(fw), func(t *testing.T) {
			began := time.Now()
			m, err := vm.Start(t.Context(), vm.Config{
				Accel: choice.Accel, Firmware: fw, Memory: 512, NoReboot: true,
				Disks: []vm.Disk{{Path: tiny.Disk, Snapshot: true}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			for _, want := range []string{spec.Loaded(), spec.Started(), spec.Whole()} {
				if found, _, err := m.Console.Expect(ctx, want, spec.Broken(), "Kernel panic", "grub rescue>"); err != nil || found != want {
					t.Fatalf("the console says %q, %v; want %q", found, err, want)
				}
				t.Logf("%q after %v", want, time.Since(began).Round(100*time.Millisecond))
			}
			if err := m.Wait(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
