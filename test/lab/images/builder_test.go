package images

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab/host"
)

func TestKeepBuildsOnce(t *testing.T) {
	host.Need(t, "debootstrap", "sfdisk", "mformat")
	cache := t.TempDir()
	var builds atomic.Int32
	build := func(_ context.Context, dst, _ string) error {
		builds.Add(1)
		return os.WriteFile(dst, []byte("whole"), 0o644)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			// A Builder each, as two processes have.
			path, err := (&Builder{Cache: cache}).keep(t.Context(), "thing", build)
			if data, _ := os.ReadFile(path); err != nil || string(data) != "whole" {
				t.Errorf("keep = %q with %q, %v", path, data, err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times; want once", n)
	}
}

func TestKeepLeavesNothingHalf(t *testing.T) {
	host.Need(t, "debootstrap", "sfdisk", "mformat")
	b := Builder{Cache: t.TempDir()}
	broken := errors.New("no space")
	_, err := b.keep(t.Context(), "thing", func(_ context.Context, dst, _ string) error {
		return errors.Join(os.WriteFile(dst, []byte("ha"), 0o644), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("keep = %v; want %v", err, broken)
	}
	if left, _ := filepath.Glob(filepath.Join(b.Cache, "thing*")); len(left) != 1 || !strings.HasSuffix(left[0], ".lock") {
		t.Errorf("a failed build left %v; want its lock file only", left)
	}
}

func TestKeepWaitsWithADeadline(t *testing.T) {
	b := Builder{Cache: t.TempDir()}
	lock, err := lockFile(t.Context(), filepath.Join(b.Cache, "thing.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.keep(ctx, "thing", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("keep of what another process builds = %v; want %v", err, context.Canceled)
	}
}

func TestPatchBIOS(t *testing.T) {
	l := loader{boot: bytes.Repeat([]byte{0xbb}, sectorSize), core: bytes.Repeat([]byte{0xcc}, 5*sectorSize-100)}
	boot, core, err := patchBIOS(l, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if lba := binary.LittleEndian.Uint64(boot[0x5c:]); lba != 2048 || len(boot) != 0x1b8 {
		t.Errorf("boot code of %d bytes loads sector %d; want 440 bytes, sector 2048", len(boot), lba)
	}
	lba, sectors := binary.LittleEndian.Uint64(core[0x1f4:]), binary.LittleEndian.Uint16(core[0x1fc:])
	if lba != 2049 || sectors != 4 || len(core) != 5*sectorSize {
		t.Errorf("core of %d bytes loads %d sectors from %d; want 2560 bytes, 4 from 2049", len(core), sectors, lba)
	}
	for name, bad := range map[string]loader{
		"short boot.img": {boot: l.boot[:100], core: l.core},
		"tiny core.img":  {boot: l.boot, core: l.core[:sectorSize]},
		"huge core.img":  {boot: l.boot, core: make([]byte, 0x10001*sectorSize)},
	} {
		if _, _, err := patchBIOS(bad, 1); err == nil {
			t.Errorf("patchBIOS with %s succeeded", name)
		}
	}
}

func TestSpecValidate(t *testing.T) {
	for _, spec := range Specs() {
		if err := spec.validate(); err != nil {
			t.Errorf("%s: %v", spec.Name, err)
		}
	}
	for name, change := range map[string]func(*Spec){
		"scheme":      func(s *Spec) { s.Scheme = "sun" },
		"file system": func(s *Spec) { s.RootFS = "btrfs" },
		"firmware":    func(s *Spec) { s.Firmware = "" },
		"UEFI on MBR": func(s *Spec) { s.Firmware, s.Scheme = vm.UEFI, MBR },
		"odd size":    func(s *Spec) { s.Size++ },
		"small":       func(s *Spec) { s.Size = 1 << 30 },
	} {
		spec := XFSBIOS()
		change(&spec)
		if _, err := (&Builder{Cache: t.TempDir()}).Golden(t.Context(), spec); err == nil {
			t.Errorf("Golden with a wrong %s succeeded", name)
		}
	}
}
