package images

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gild-dev/gild/internal/vm"
)

// loader is GRUB as read out of a golden tree. grub-install cannot be used: it
// insists on partition devices, which a kernel without partition scanning does
// not make.
type loader struct {
	boot []byte // boot.img, the code of LBA 0; nil for UEFI
	core []byte // core.img, or the EFI program
}

// makeLoader lays out /boot/grub as grub-install and update-grub do, in the
// tree mounted at root.
func makeLoader(ctx context.Context, spec Spec, root string) (loader, error) {
	platform, modules := "i386-pc", []string{"biosdisk"}
	if spec.Firmware == vm.UEFI {
		platform, modules = "x86_64-efi", []string{"fat"}
	}
	fs := "xfs"
	if spec.RootFS == Ext4 {
		fs = "ext2" // GRUB's one driver for ext2, 3 and 4
	}
	modules = append(modules, "part_gpt", "part_msdos", fs, "search_fs_uuid", "normal", "configfile")

	if err := os.MkdirAll(filepath.Join(root, "boot/grub"), 0o755); err != nil {
		return loader{}, err
	}
	library := "/usr/lib/grub/" + platform
	if err := chroot(ctx, root, "cp", "--recursive", library, "/boot/grub/"); err != nil {
		return loader{}, err
	}
	if err := chroot(ctx, root, "grub-mkconfig", "--output", "/boot/grub/grub.cfg"); err != nil {
		return loader{}, err
	}
	// The root is found by its UUID, as grub-install has it where the disk's number
	// is not certain.
	if err := writeFile(filepath.Join(root, "boot/grub", platform, "load.cfg"), findRoot(spec)); err != nil {
		return loader{}, err
	}
	core := "/boot/grub/" + platform + "/core.img"
	args := []string{"--format", platform, "--prefix", "/boot/grub", "--config", "/boot/grub/" + platform + "/load.cfg", "--output", core}
	if err := chroot(ctx, root, "grub-mkimage", append(args, modules...)...); err != nil {
		return loader{}, err
	}

	var l loader
	var err error
	if l.core, err = os.ReadFile(filepath.Join(root, core)); err != nil {
		return loader{}, err
	}
	if spec.Firmware == vm.BIOS {
		if l.boot, err = os.ReadFile(filepath.Join(root, library, "boot.img")); err != nil {
			return loader{}, err
		}
	}
	return l, nil
}

func findRoot(spec Spec) string {
	return "search.fs_uuid " + spec.RootUUID + " root\nset prefix=($root)/boot/grub\n"
}

// Fields of GRUB's BIOS images (include/grub/i386/pc/boot.h and
// grub-core/boot/i386/pc/diskboot.S).
const (
	bootCodeSize    = 0x1b8 // the disk signature and the partition table of the MBR follow
	bootCoreSector  = 0x5c  // in boot.img: LBA of core.img's first sector, 64 bits
	coreBlockStart  = 0x1f4 // in core.img's first sector: LBA of the rest, 64 bits
	coreBlockLength = 0x1fc // ... and its length in sectors, 16 bits
)

// patchBIOS returns boot.img's code and core.img for a core that will lie at
// sector lba.
func patchBIOS(l loader, lba uint64) (boot, core []byte, err error) {
	sectors := (len(l.core) + sectorSize - 1) / sectorSize
	switch {
	case len(l.boot) != sectorSize:
		return nil, nil, fmt.Errorf("boot.img has %d bytes; want %d", len(l.boot), sectorSize)
	case sectors < 2 || sectors-1 > 0xffff:
		return nil, nil, fmt.Errorf("core.img has %d sectors; want 2 to 65536", sectors)
	}
	boot = append([]byte(nil), l.boot[:bootCodeSize]...)
	binary.LittleEndian.PutUint64(boot[bootCoreSector:], lba)
	core = make([]byte, sectors*sectorSize)
	copy(core, l.core)
	binary.LittleEndian.PutUint64(core[coreBlockStart:], lba+1)
	binary.LittleEndian.PutUint16(core[coreBlockLength:], uint16(sectors-1))
	return boot, core, nil
}

// installBIOS writes GRUB to where BIOS starts it: its first sector in LBA 0
// around the partition table, the rest in the BIOS boot partition or in the gap
// before the first partition.
func installBIOS(disk io.WriterAt, spec Spec, l loader) error {
	start, end := int64(coreStartGPT), int64(coreEndGPT)
	if spec.Scheme == MBR {
		start, end = coreStartMBR, coreEndMBR
	}
	boot, core, err := patchBIOS(l, uint64(start/sectorSize))
	if err != nil {
		return err
	}
	if int64(len(core)) > end-start {
		return fmt.Errorf("core.img has %d bytes, more than the %d before the next partition", len(core), end-start)
	}
	_, errBoot := disk.WriteAt(boot, 0)
	_, errCore := disk.WriteAt(core, start)
	return errors.Join(errBoot, errCore)
}

// fillESP makes the EFI system partition with mtools, as not every kernel has
// vfat. GRUB goes to the path for removable media, which firmware tries without
// any boot variable: a golden image brings none.
func fillESP(ctx context.Context, spec Spec, l loader, disk, work string) error {
	program, config := filepath.Join(work, "grub.efi"), filepath.Join(work, "grub.cfg")
	if err := os.WriteFile(program, l.core, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte(findRoot(spec)+"configfile $prefix/grub.cfg\n"), 0o644); err != nil {
		return err
	}
	image := disk + "@@" + strconv.Itoa(espStart)
	serial := espUUID[:4] + espUUID[5:]
	for _, args := range [][]string{
		{"mformat", "-i", image, "-F", "-c", "1", "-T", strconv.Itoa(espSize / sectorSize), "-v", "ESP", "-N", serial, "::"},
		{"mmd", "-i", image, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"},
		{"mcopy", "-i", image, program, "::/EFI/BOOT/BOOTX64.EFI"},
		{"mcopy", "-i", image, program, "::/EFI/debian/grubx64.efi"},
		{"mcopy", "-i", image, config, "::/EFI/debian/grub.cfg"},
	} {
		// mtools refuses geometries that disks have not had for decades without this.
		if err := run(ctx, []string{"MTOOLS_SKIP_CHECK=1"}, nil, args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}
