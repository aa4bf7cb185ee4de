package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestProberWithoutProof(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(junk, []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*Prober{
		"no kernel":  {},
		"not one":    {Kernel: junk},
		"no program": {Kernel: junk, Binary: "qemu-nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.Choose(t.Context())
			if err != nil || got.Accel != TCG || got.Reason == "" {
				t.Errorf("Choose = %+v, %v; want emulation, and why", got, err)
			}
		})
	}
}

func TestProberRemembers(t *testing.T) {
	boot := hostBoot()
	if boot == "" {
		t.Skip("this host has no boot id")
	}
	tests := []struct {
		name   string
		stored string // "" for none
		want   Accel
	}{
		{"an answer of this boot", `{"accel":"kvm","reason":"seen","boot":"` + boot + `"}`, KVM},
		{"of an earlier boot", `{"accel":"kvm","boot":"0"}`, TCG},
		{"not JSON", `{`, TCG},
		{"unknown accelerator", `{"accel":"xen","boot":"` + boot + `"}`, TCG},
		{"none", "", TCG},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A program that does not exist makes every real probe end in emulation, at
			// once.
			p := &Prober{Kernel: "vmlinuz", CacheDir: filepath.Join(t.TempDir(), "cache"), Binary: "qemu-nonexistent"}
			if tt.stored != "" {
				if err := os.MkdirAll(p.CacheDir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p.file(), []byte(tt.stored), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := p.Choose(t.Context())
			if err != nil || got.Accel != tt.want {
				t.Errorf("Choose = %+v, %v; want %s", got, err, tt.want)
			}
			other := &Prober{Kernel: p.Kernel, CacheDir: p.CacheDir}
			if kept, ok := other.recall(boot); !ok || kept.Accel != tt.want {
				t.Errorf("another process recalls %+v, %v; want %s", kept, ok, tt.want)
			}
		})
	}
}

func TestProberCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &Prober{CacheDir: t.TempDir(), Kernel: "vmlinuz"}
	if _, err := p.Choose(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Choose = %v; want %v", err, context.Canceled)
	}
	if _, err := os.Stat(p.file()); !errors.Is(err, os.ErrNotExist) {
		t.Error("a cancelled probe left an answer")
	}
}
