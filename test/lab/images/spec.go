package images

import (
	"fmt"
	"strconv"

	"github.com/gild-dev/gild/internal/vm"
)

// recipe is the version of what the builder does. Raise it with every change
// that changes an image, or hosts keep using the old one.
const recipe = 1

// Scheme is a kind of partition table, named as sfdisk names it.
type Scheme string

// The partition schemes.
const (
	GPT Scheme = "gpt"
	MBR Scheme = "dos"
)

// FileSystem is the kind of the root file system.
type FileSystem string

// The root file systems.
const (
	XFS  FileSystem = "xfs"
	Ext4 FileSystem = "ext4"
)

// Spec says how a golden Debian is laid out on its disk. Sectors are 512 bytes;
// the root partition is the last.
type Spec struct {
	Name     string // names the image in the cache: two layouts must not share it
	Scheme   Scheme
	RootFS   FileSystem
	Firmware vm.Firmware
	Size     int64  // of the disk, bytes, a multiple of 1 MiB
	RootUUID string // of the root file system

	lean bool // see [Spec.Lean]
}

const defaultSize = 2 << 30

// XFSBIOS is BIOS, GPT with a BIOS boot partition, XFS.
func XFSBIOS() Spec {
	return Spec{
		Name: "xfs-bios", Scheme: GPT, RootFS: XFS, Firmware: vm.BIOS, Size: defaultSize,
		RootUUID: "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0001",
	}
}

// Ext4MBR is BIOS, MBR with GRUB in the gap before the first partition, ext4.
func Ext4MBR() Spec {
	return Spec{
		Name: "ext4-mbr", Scheme: MBR, RootFS: Ext4, Firmware: vm.BIOS, Size: defaultSize,
		RootUUID: "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0002",
	}
}

// Ext4UEFI is UEFI, GPT with an EFI system partition, ext4.
func Ext4UEFI() Spec {
	return Spec{
		Name: "ext4-uefi", Scheme: GPT, RootFS: Ext4, Firmware: vm.UEFI, Size: defaultSize,
		RootUUID: "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0003",
	}
}

// Specs returns every named layout.
func Specs() []Spec { return []Spec{XFSBIOS(), Ext4MBR(), Ext4UEFI()} }

// file is the image's name in the cache.
func (s Spec) file() string {
	version := strconv.Itoa(recipe)
	if s.lean {
		version = fmt.Sprintf("%d.%d", recipe, leanRecipe)
	}
	return fmt.Sprintf("golden-%s-v%s-%s-%dMiB.raw", suite, version, s.Name, s.Size>>20)
}

const (
	sectorSize = 512
	espUUID    = "61D0-0001"
	espStart   = 1 << 20
	espSize    = 64 << 20 // the least that FAT32 may have, and some room
	// coreStart is the BIOS boot partition on GPT; on MBR the gap begins right
	// after the table.
	coreStartGPT = 1 << 20
	coreEndGPT   = 2 << 20
	coreStartMBR = sectorSize
	coreEndMBR   = 1 << 20
)

// rootStart is the root partition's first byte.
func (s Spec) rootStart() int64 {
	switch {
	case s.Firmware == vm.UEFI:
		return espStart + espSize
	case s.Scheme == GPT:
		return coreEndGPT
	}
	return coreEndMBR
}

// rootSize leaves the last MiB to the backup GPT.
func (s Spec) rootSize() int64 { return s.Size - s.rootStart() - 1<<20 }

// table is the partition table in sfdisk's script language, all identities
// fixed.
func (s Spec) table() string {
	start, size := s.rootStart()/sectorSize, s.rootSize()/sectorSize
	if s.Scheme == MBR {
		return fmt.Sprintf("label: dos\nlabel-id: 0x61d00001\nstart=%d, size=%d, type=83, bootable\n", start, size)
	}
	script := "label: gpt\nlabel-id: 0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1000\n"
	if s.Firmware == vm.UEFI {
		script += fmt.Sprintf("start=%d, size=%d, type=uefi, uuid=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1001, name=esp\n", espStart/sectorSize,
			espSize/sectorSize)
	} else {
		// The BIOS boot partition's type (GRUB manual, "BIOS installation"); not every
		// sfdisk knows a name for it.
		script += fmt.Sprintf("start=%d, size=%d, type=21686148-6449-6E6F-744E-656564454649, uuid=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1001, "+
			"name=grub\n",
			coreStartGPT/sectorSize, (coreEndGPT-coreStartGPT)/sectorSize)
	}
	return script + fmt.Sprintf("start=%d, size=%d, type=linux, uuid=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1002, name=root\n", start, size)
}

// validate refuses layouts that the builder does not know how to boot.
func (s Spec) validate() error {
	switch {
	case s.Scheme != GPT && s.Scheme != MBR:
		return fmt.Errorf("scheme %q: want %q or %q", s.Scheme, GPT, MBR)
	case s.RootFS != XFS && s.RootFS != Ext4:
		return fmt.Errorf("root file system %q: want %q or %q", s.RootFS, XFS, Ext4)
	case s.Firmware != vm.BIOS && s.Firmware != vm.UEFI:
		return fmt.Errorf("firmware %q: want %q or %q", s.Firmware, vm.BIOS, vm.UEFI)
	case s.Firmware == vm.UEFI && s.Scheme == MBR:
		return fmt.Errorf("UEFI from an MBR disk is not supported here")
	case s.Size < 2<<30 || s.Size%(1<<20) != 0:
		return fmt.Errorf("size %d: want whole MiB, 2 GiB at least", s.Size)
	}
	return nil
}
