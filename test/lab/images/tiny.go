package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gild-dev/gild/internal/vm"
)

// TinySpec is a golden system of one kernel and one script, which boots in
// seconds with BIOS and with UEFI. All that it does is to say [TinySpec.Loaded]
// in its loader, and in its init [TinySpec.Whole] if its whole disk is as it
// was built or [TinySpec.Broken] if not, and to power off.
//
// Its disk has a GPT, GRUB's core in partition 1 and everything else in
// partition 2, a FAT.
type TinySpec struct {
	Name string // names the image in the cache, and what it says: upper case by custom
	// bytes of noise before the kernel: where two images differ in it, they share
	// no chunk of data
	Lead int64
	Fill int64  // bytes of noise after the kernel
	Seed uint64 // of the noise after the kernel
}

// Loaded is what its loader says.
func (s TinySpec) Loaded() string { return s.Name + " LOADED" }

// Started is what its init says first.
func (s TinySpec) Started() string { return s.Name + " STARTED" }

// Whole is what its init says on a disk that is as it was built.
func (s TinySpec) Whole() string { return s.Name + " WHOLE" }

// Broken is what its init says on any other disk.
func (s TinySpec) Broken() string { return s.Name + " BROKEN" }

// TinySize is the size of a tiny image, bytes.
const TinySize = 64 << 20

const (
	tinyRecipe = 4 // as recipe, for tiny images
	tinySerial = "61D00009"
	tinyStart  = coreEndGPT        // of the FAT
	tinyEnd    = TinySize - 1<<20  // the backup GPT's place follows
	tinySumAt  = coreEndGPT - 512  // the FAT's SHA-256 in hex: in the last sector of GRUB's partition
	maxNoise   = TinySize - 32<<20 // kernel, initramfs and GRUB need the rest
	tinyTable  = "label: gpt\nlabel-id: 0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e9000\n" +
		"start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e9001, name=grub\n" +
		"start=4096, size=%d, type=uefi, uuid=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e9002, name=system\n"
)

// tinyModules are what the kernel needs for a virtio machine, by directory
// below lib/modules/RELEASE/kernel, in the order in which they load. The tiny
// system's own init takes those before the network's.
var tinyModules = [...]string{
	"drivers/virtio/virtio", "drivers/virtio/virtio_ring", "drivers/virtio/virtio_pci_legacy_dev",
	"drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk",
	"net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
}

const tinyNetwork = 6 // index of the first module for the network

// Tiny is a built tiny image, and what `gild image add` needs beside it, as it
// has no Linux root.
type Tiny struct {
	Disk    string // raw, shared: never to be written
	Kernel  string
	Modules string // directory that holds lib/modules
}

// Tiny returns a tiny image, building it when it is not in the cache.
func (b *Builder) Tiny(ctx context.Context, spec TinySpec) (Tiny, error) {
	if spec.Lead < 0 || spec.Fill < 0 || spec.Lead+spec.Fill > maxNoise {
		return Tiny{}, fmt.Errorf("tiny image %s: noise of %d and %d bytes: want at most %d", spec.Name, spec.Lead, spec.Fill, maxNoise)
	}
	parts, err := b.tinyParts(ctx)
	if err != nil {
		return Tiny{}, fmt.Errorf("parts of tiny images: %w", err)
	}
	name := fmt.Sprintf("tiny-%s-v%d-%s-%d-%d-%d.raw", suite, tinyRecipe, strings.ToLower(spec.Name), spec.Lead, spec.Fill, spec.Seed)
	disk, err := b.keep(ctx, name, func(ctx context.Context, dst, work string) error {
		return buildTiny(ctx, spec, parts, dst, work)
	})
	if err != nil {
		return Tiny{}, fmt.Errorf("tiny image %s: %w", spec.Name, err)
	}
	return Tiny{Disk: disk, Kernel: filepath.Join(parts, "vmlinuz"), Modules: parts}, nil
}

// tinyParts returns a directory with what all tiny images share: kernel,
// modules, GRUB.
func (b *Builder) tinyParts(ctx context.Context) (string, error) {
	return b.keep(ctx, fmt.Sprintf("tiny-parts-%s-v%d", suite, tinyRecipe), func(ctx context.Context, dst, work string) error {
		base, err := b.Base(ctx)
		if err != nil {
			return err
		}
		args := []string{
			"--extract", "--file", base, "--directory", work, "--wildcards", "./bin", "./lib", "./lib64", "./sbin",
			"./usr/bin/grub-mkimage", "./usr/bin/kmod", "./usr/sbin/depmod", "./usr/bin/cp", "./usr/lib/grub", "./usr/lib64",
			"./usr/lib/x86_64-linux-gnu", "./usr/lib/modules/*/modules.builtin*", "./usr/lib/modules/*/modules.order", "./boot/vmlinuz-*",
		}
		for _, m := range tinyModules {
			args = append(args, "./usr/lib/modules/*/kernel/"+m+".ko")
		}
		if err := run(ctx, nil, nil, "tar", args...); err != nil {
			return err
		}
		return gatherTiny(ctx, work, dst)
	})
}

// gatherTiny makes the parts in the Debian tree at root and moves them to dst.
func gatherTiny(ctx context.Context, root, dst string) error {
	kernels, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*")) // the only error is a bad pattern
	if len(kernels) != 1 {
		return fmt.Errorf("%d kernels in the golden tree; want one", len(kernels))
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := chroot(ctx, root, "/usr/sbin/depmod", release); err != nil {
		return err
	}
	config := "search.fs_uuid " + tinySerial[:4] + "-" + tinySerial[4:] + " root\nset prefix=($root)/\nconfigfile /grub.cfg\n"
	if err := writeFile(filepath.Join(root, "tiny.cfg"), config); err != nil {
		return err
	}
	modules := []string{"part_gpt", "fat", "search_fs_uuid", "normal", "configfile", "echo", "linux", "boot"}
	for _, image := range []struct{ format, file, more string }{
		{"i386-pc", "core.img", "biosdisk"},
		{"x86_64-efi", "grub.efi", "efi_gop"},
	} {
		args := append([]string{"--format", image.format, "--prefix", "/", "--config", "/tiny.cfg", "--output", "/" + image.file, image.more},
			modules...)
		if err := chroot(ctx, root, "/usr/bin/grub-mkimage", args...); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dst, "lib"), 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.Rename(kernels[0], filepath.Join(dst, "vmlinuz")),
		os.Rename(filepath.Join(root, "usr/lib/modules"), filepath.Join(dst, "lib/modules")),
		os.Rename(filepath.Join(root, "usr/lib/grub/i386-pc/boot.img"), filepath.Join(dst, "boot.img")),
		os.Rename(filepath.Join(root, "core.img"), filepath.Join(dst, "core.img")),
		os.Rename(filepath.Join(root, "grub.efi"), filepath.Join(dst, "grub.efi")))
}

// buildTiny puts a tiny image together at dst.
func buildTiny(ctx context.Context, spec TinySpec, parts, dst, work string) (err error) {
	file, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(TinySize); err != nil {
		return err
	}
	table := fmt.Sprintf(tinyTable, (tinyEnd-tinyStart)/sectorSize)
	if err := run(ctx, nil, strings.NewReader(table), "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", dst); err != nil {
		return err
	}
	if err := fillTiny(ctx, spec, parts, dst, work); err != nil {
		return err
	}
	boot, err := os.ReadFile(filepath.Join(parts, "boot.img"))
	if err != nil {
		return err
	}
	core, err := os.ReadFile(filepath.Join(parts, "core.img"))
	if err != nil {
		return err
	}
	if err := installBIOS(file, Spec{Scheme: GPT}, loader{boot: boot, core: core}); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, tinyStart, tinyEnd-tinyStart)); err != nil {
		return err
	}
	_, err = file.WriteAt(fmt.Appendf(nil, "%x", sum.Sum(nil)), tinySumAt)
	return err
}

// fillTiny makes the FAT of a tiny image, from which both firmwares' GRUB takes
// everything.
func fillTiny(ctx context.Context, spec TinySpec, parts, disk, work string) error {
	initrd, err := tinyInitrd(spec, parts)
	if err != nil {
		return err
	}
	menu := fmt.Sprintf("echo %q\nlinux /vmlinuz console=ttyS0,115200 quiet panic=-1 "+vm.Steady+"\ninitrd /initrd\nboot\n", spec.Loaded())
	if err := errors.Join(
		os.WriteFile(filepath.Join(work, "lead"), noise(0, spec.Lead), 0o644),
		os.WriteFile(filepath.Join(work, "fill"), noise(spec.Seed, spec.Fill), 0o644),
		os.WriteFile(filepath.Join(work, "initrd"), initrd, 0o644),
		os.WriteFile(filepath.Join(work, "grub.cfg"), []byte(menu), 0o644),
	); err != nil {
		return err
	}
	image := disk + "@@" + strconv.Itoa(tinyStart)
	// Clusters of 8 KiB, so a FAT16: GRUB reads a file cluster by cluster, which
	// BIOS makes slow.
	for _, args := range [][]string{
		{"mformat", "-i", image, "-c", "16", "-T", strconv.Itoa((tinyEnd - tinyStart) / sectorSize), "-v", "TINY", "-N", tinySerial, "::"},
		{"mmd", "-i", image, "::/EFI", "::/EFI/BOOT"},
		{"mcopy", "-i", image, filepath.Join(work, "lead"), "::/lead"},
		{"mcopy", "-i", image, filepath.Join(parts, "grub.efi"), "::/EFI/BOOT/BOOTX64.EFI"},
		{"mcopy", "-i", image, filepath.Join(work, "grub.cfg"), filepath.Join(parts, "vmlinuz"), filepath.Join(work, "initrd"), "::/"},
		{"mcopy", "-i", image, filepath.Join(work, "fill"), "::/fill"},
	} {
		if err := run(ctx, []string{"MTOOLS_SKIP_CHECK=1"}, nil, args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// tinyInitrd is the initramfs of a tiny system: busybox, the disk's drivers and
// the script.
func tinyInitrd(spec TinySpec, parts string) ([]byte, error) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: on Debian, apt install busybox-static", err)
	}
	records := []cpio.Record{
		cpio.StaticFile("init", tinyInit(spec), 0o755),
		cpio.Directory("bin", 0o755), cpio.StaticFile("bin/busybox", string(busybox), 0o755),
		cpio.Directory("dev", 0o755), cpio.Directory("ko", 0o755),
	}
	for _, m := range tinyModules[:tinyNetwork] {
		found, _ := filepath.Glob(filepath.Join(parts, "lib/modules/*/kernel", m+".ko"))
		if len(found) != 1 {
			return nil, fmt.Errorf("%d modules %s; want one", len(found), m)
		}
		module, err := os.ReadFile(found[0])
		if err != nil {
			return nil, err
		}
		records = append(records, cpio.StaticFile("ko/"+filepath.Base(m)+".ko", string(module), 0o644))
	}
	for i := range records {
		records[i] = cpio.MakeReproducible(records[i])
	}
	var archive bytes.Buffer
	out := cpio.Newc.Writer(&archive)
	if err := errors.Join(cpio.WriteRecords(out, records), cpio.WriteTrailer(out)); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

// tinyInit is the script that is a tiny system.
func tinyInit(spec TinySpec) string {
	var names []string
	for _, m := range tinyModules[:tinyNetwork] {
		names = append(names, filepath.Base(m))
	}
	return "#!/bin/busybox sh\nb=/bin/busybox\n" + fmt.Sprintf("echo %q\n", spec.Started()) + "$b mount -t devtmpfs dev /dev\n" +
		"for m in " + strings.Join(names, " ") + "; do $b insmod /ko/$m.ko; done\n" +
		"for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; $b sleep 1; done\n" +
		fmt.Sprintf("want=$($b dd if=/dev/vda bs=512 skip=%d count=1 2>/dev/null | $b head -c 64)\n", tinySumAt/sectorSize) +
		fmt.Sprintf("have=$($b dd if=/dev/vda bs=1M skip=%d count=%d 2>/dev/null | $b sha256sum | $b head -c 64)\n", tinyStart>>20,
			(tinyEnd-tinyStart)>>20) +
		fmt.Sprintf("if [ \"$want\" = \"$have\" ]; then echo %q; else echo %q; fi\n$b poweroff -f\n", spec.Whole(), spec.Broken())
}

// noise is bytes that no compression makes smaller, the same for a seed.
func noise(seed uint64, size int64) []byte {
	var key [32]byte
	copy(key[:], fmt.Sprintf("tiny %d", seed))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return slices.Clip(data)
}
