// Package vm runs one QEMU virtual machine.
//
// A machine is described by a [Config] and lives from [Start] to
// [Machine.Close], or to the end of the context that it was started with.
// Monitor and console are socket pairs inherited by QEMU, so a run leaves no
// socket files, needs no free port, and two runs never meet.
//
//	m, err := vm.Start(ctx, vm.Config{Disks: []vm.Disk{{Path: "golden.raw"}}})
//	...
//	defer m.Close()
//	_, _, err = m.Console.Expect(ctx, "login:", "Kernel panic")
package vm

import "io"

// Accel is what executes the guest's instructions.
type Accel string

// The accelerators. KVM is worth choosing only after [Prober.Choose] saw a
// guest kernel run under it.
const (
	TCG Accel = "tcg"
	KVM Accel = "kvm"
)

// Firmware is what the machine runs at power-on.
type Firmware string

// The firmware kinds: SeaBIOS, which QEMU carries, and OVMF, which the
// distribution packages.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Bus is how a disk is attached, which decides the guest's driver and device
// name.
type Bus string

// The disk buses.
const (
	Virtio Bus = "virtio"
	SATA   Bus = "sata"
	NVMe   Bus = "nvme"
	SCSI   Bus = "scsi"
)

// Steady is for the command line of a Linux kernel that may run without
// acceleration (kernel-parameters.txt). Its clock interrupts come when the host
// has time: on a busy one the kernel would take them for broken at its start,
// and panic. It would also not trust the time stamps of two processors, and ask
// a device for the time instead, at each look.
const Steady = "no_timer_check tsc=reliable"

// Config describes a machine. The zero value of every field is usable.
type Config struct {
	Binary string // QEMU program; "" means qemu-system-x86_64 in PATH
	Accel  Accel  // "" means TCG, which runs everywhere
	Memory int    // MiB; 0 means 1024
	CPUs   int    // 0 means 2
	// AllInstructions has an emulated processor offer all that QEMU can do. Without
	// it what is slow there is left out, and x86-64 of the first day remains:
	// systems built for x86-64-v2 or later do not start.
	AllInstructions bool
	Firmware        Firmware // "" means BIOS
	// UEFI variable store, created when absent; "" means one that ends with the
	// machine
	Vars  string
	Disks []Disk // disk0, disk1, ... in BootOrder
	NICs  []NIC  // nic0, nic1, ... in BootOrder

	// BootOrder names the only devices that firmware may boot from, first one
	// first: "nic0", "disk0". Empty means every disk in order, no NIC.
	BootOrder []string

	// Kernel, Initrd and Cmdline boot a kernel directly, past the firmware's boot
	// order.
	Kernel  string
	Initrd  string
	Cmdline string

	// NoReboot turns a guest's reset into the end of the machine, seen as a
	// SHUTDOWN event.
	NoReboot bool

	// SerialLog names a file that receives the console's text, free of escape
	// sequences.
	SerialLog string
	// Serial receives the console as the guest sent it. A write error is ignored:
	// watching must not stop a guest.
	Serial io.Writer

	// Namespace names the network namespace (of "ip netns") that QEMU runs in,
	// where its taps are.
	Namespace string
	// Extra is appended to QEMU's command line as is.
	Extra []string
}

// Disk is one disk of a machine.
type Disk struct {
	Path       string
	Format     string // "" means raw: guessing the format would let a guest name host files
	Serial     string // what the guest sees as serial number; NVMe gets one of its own when ""
	Bus        Bus    // "" means Virtio
	SectorSize int    // logical and physical, bytes; 0 means 512
	// Snapshot keeps all writes in a temporary file that ends with the machine, so
	// a shared image stays as it is.
	Snapshot bool
	// WriteLog names a file, emptied at the start, that receives every write and
	// flush of this disk in the order in which they ended, in the format of the
	// kernel's dm-log-writes (QEMU's blklogwrites). Some versions of QEMU spoil it
	// where a guest zeroes ranges beside other writes: replay it before believing
	// it.
	WriteLog string
}

// NIC is one network card of a machine.
type NIC struct {
	Model string // QEMU device name; "" means virtio-net-pci
	MAC   string // "" means QEMU's default, which is the same in every machine
	Tap   string // name of an existing tap in the machine's network namespace
	// Netdev is any other QEMU backend without its id, like "user" or
	// "socket,mcast=230.0.0.1:1234"; with neither it nor Tap the card has no cable.
	Netdev string
	// BootROM leaves the card its option ROM (QEMU ships iPXE). Without it BIOS
	// cannot boot from the card, and UEFI uses its own PXE and HTTP stack.
	BootROM bool
}
