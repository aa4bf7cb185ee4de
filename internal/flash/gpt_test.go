package flash

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gptDisk is a disk of n bytes with a GPT made by sgdisk: a boot partition
// and one that reaches the end, both full of content.
func gptDisk(t testing.TB, seed byte, n int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
	sgdisk(t, "-a", "1", "-n", "1:2048:4095", "-t", "1:ef02", "-n", "2:4096:0", path)
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content := randomDisk(seed, n)
	copy(disk[mib:n-mib], content[mib:])
	return disk
}

func sgdisk(t testing.TB, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("sgdisk is not installed")
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The disk is larger than the image by anything from nothing to much: the
// backup GPT stands at its real end, and sgdisk finds nothing to complain of.
func TestGPTIsFittedToTheDisk(t *testing.T) {
	image := gptDisk(t, 2, 6*mib)
	im := newTestImage(t, image, "gpt")
	for _, extra := range []int{0, sector, 32 * sector, 33 * sector, 64 << 10, mib, 5 * mib} {
		old := randomDisk(1, len(image)+extra)
		d := newModelDisk(old)
		if _, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d}); err != nil {
			t.Fatalf("%d bytes larger: %v", extra, err)
		}
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, d.now, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := sgdisk(t, "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("%d bytes larger: sgdisk -v says\n%s", extra, out)
		}
		if !bytes.Equal(d.now[mib:len(image)-mib], image[mib:len(image)-mib]) {
			t.Errorf("%d bytes larger: the content is not the image's", extra)
		}
	}
}

// Whatever was on the disk before, no cut leaves a disk with an LBA 0 behind
// which the image is not whole.
func TestPowerCutOverOldContent(t *testing.T) {
	const size = 5 * mib
	image := gptDisk(t, 2, 4*mib)
	im := newTestImage(t, image, "gpt")
	for name, old := range oldDisks(t, size) {
		t.Run(name, func(t *testing.T) {
			d := newModelDisk(old)
			if _, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d, Workers: 3}); err != nil {
				t.Fatal(err)
			}
			sealed := bytes.Clone(d.now)
			rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
			for n := range len(d.ops) + 1 { // every boundary
				for range max(1, *cuts/5000) {
					gate := d.gateAfterCut(old, n, rnd)
					if allZero(gate) {
						continue
					}
					medium := d.afterCut(old, n, rnd)
					copy(medium, gate)
					if !bytes.Equal(medium, sealed) && !bytes.Equal(medium, old) {
						t.Fatalf("cut after %d of %d operations: LBA 0 is there, the image is not", n, len(d.ops))
					}
				}
			}
			t.Logf("%d boundaries", len(d.ops)+1)
		})
	}
}

// oldDisks are disks as they come: each with a bootable LBA 0 of its own.
func oldDisks(t testing.TB, n int) map[string][]byte {
	lvm := randomDisk(3, n)
	copy(lvm[sector:], "LABELONE")
	copy(lvm[sector+24:], "LVM2 001")
	md := randomDisk(4, n)
	copy(md[n-8<<10:], []byte{0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0}) // md 1.0: 8 KiB before the end
	superfloppy := randomDisk(5, n)
	copy(superfloppy, "\xeb\x58\x90mkfs.fat")
	return map[string][]byte{
		"GPT": gptDisk(t, 6, n), "MBR": randomDisk(7, n), "LVM": lvm, "md 1.0": md, "superfloppy": superfloppy,
	}
}

// A disk whose cache is right and whose medium is not: the write is spoiled
// only when the cache is flushed. Reading back before that would prove the
// cache.
func TestReadBackComesAfterTheFlush(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	for _, at := range []int64{2*mib + 5, 3*mib + 7*64<<10, 1, 510, sector + 9, 6*mib - 7} {
		d := newModelDisk(randomDisk(1, 6*mib))
		d.spoil, d.spoils = at, 1
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d})
		if err != nil || !bytes.Equal(d.now, im.raw) {
			t.Errorf("spoiled once at %d: %+v, %v; want it found and repaired", at, result, err)
		}
		d = newModelDisk(randomDisk(1, 6*mib))
		d.spoil, d.spoils = at, 2
		if _, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d}); err == nil || !allZero(d.now[:sector]) {
			t.Errorf("spoiled twice at %d: Run = %v; want an error and a disk that does not boot", at, err)
		}
	}
}
