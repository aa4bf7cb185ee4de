package vm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// File descriptors that QEMU inherits: exec.Cmd numbers ExtraFiles from 3.
const (
	monitorFD = 3
	serialFD  = 4
)

// args is the whole command line. It is a pure function of the configuration,
// so that a test can compare it.
func (c Config) args(fw firmwareFiles) ([]string, error) {
	a := []string{"-nodefaults", "-no-user-config", "-display", "none"}
	// graphics=off makes SeaBIOS, iPXE and GRUB speak on the serial port.
	a = append(a, "-machine", "q35,graphics=off")
	switch c.Accel {
	case "", TCG:
		a = append(a, "-accel", "tcg,thread=multi", "-cpu", c.emulated())
	case KVM:
		a = append(a, "-accel", "kvm", "-cpu", "host")
	default:
		return nil, fmt.Errorf("accelerator %q: want %q or %q", c.Accel, TCG, KVM)
	}
	a = append(a,
		"-m", strconv.Itoa(orDefault(c.Memory, 1024)),
		"-smp", strconv.Itoa(orDefault(c.CPUs, 2)),
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", monitorFD), "-mon", "chardev=monitor,mode=control",
		"-chardev", fmt.Sprintf("socket,id=serial,fd=%d", serialFD), "-serial", "chardev:serial")
	if fw.code != "" {
		a = append(a,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(fw.code),
			"-drive", "if=pflash,unit=1,format=raw,file="+escape(fw.vars))
	}
	if c.NoReboot {
		a = append(a, "-no-reboot")
	}
	if c.Kernel != "" {
		a = append(a, "-kernel", c.Kernel)
		if c.Initrd != "" {
			a = append(a, "-initrd", c.Initrd)
		}
		if c.Cmdline != "" {
			a = append(a, "-append", c.Cmdline)
		}
	}

	order, err := c.bootOrder()
	if err != nil {
		return nil, err
	}
	// strict: an empty disk must end the boot, not send the firmware on to devices
	// nobody asked for.
	a = append(a, "-boot", "strict=on")
	if slices.ContainsFunc(c.Disks, func(d Disk) bool { return d.Bus == SCSI }) {
		a = append(a, "-device", "virtio-scsi-pci,id=scsi")
	}
	for i, d := range c.Disks {
		args, err := d.args(i, order)
		if err != nil {
			return nil, err
		}
		a = append(a, args...)
	}
	for i, n := range c.NICs {
		a = append(a, n.args(i, order)...)
	}
	return append(a, c.Extra...), nil
}

// slow is what emulation does slower than programs do without it. Vector
// instructions are calls into QEMU, one each: what chooses its code by the
// processor, as BLAKE3 and Go's hashes do, takes half the time without them. A
// move of bytes with a repeat prefix goes byte by byte, and the kernel prefers
// it where the processor calls it quick (erms, fsrm). A fifth level of page
// tables (la57) is one more to walk. aes and pclmulqdq go with the vectors: the
// kernel's modules for them use SSSE3 and SSE4.1 without having asked for it,
// as no real processor has the one without the other.
const slow = "avx2=off,avx=off,sse4.2=off,sse4.1=off,ssse3=off,aes=off,pclmulqdq=off,erms=off,fsrm=off,la57=off"

// emulated is the processor without acceleration.
func (c Config) emulated() string {
	if c.AllInstructions {
		return "max"
	}
	return "max," + slow
}

// bootOrder maps device names to boot indexes, which QEMU counts from any
// number upwards.
func (c Config) bootOrder() (map[string]int, error) {
	known := make(map[string]bool)
	var disks []string
	for i := range c.Disks {
		name := fmt.Sprintf("disk%d", i)
		known[name] = true
		disks = append(disks, name)
	}
	for i := range c.NICs {
		known[fmt.Sprintf("nic%d", i)] = true
	}
	names := c.BootOrder
	if len(names) == 0 {
		names = disks
	}
	order := make(map[string]int)
	for i, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("boot order: no device %q in this machine", name)
		}
		if _, twice := order[name]; twice {
			return nil, fmt.Errorf("boot order: %q is named twice", name)
		}
		order[name] = i + 1
	}
	return order, nil
}

func (d Disk) args(i int, order map[string]int) ([]string, error) {
	id := fmt.Sprintf("disk%d", i)
	if d.Path == "" {
		return nil, fmt.Errorf("%s: no path", id)
	}
	format := d.Format
	if format == "" {
		format = "raw"
	}
	// What a guest has flushed is in the file, which outlives the machine; the
	// host's own disk may be as late as it is.
	drive := fmt.Sprintf("if=none,id=%s-file,format=%s,cache=unsafe,discard=unmap,file=%s", id, format, escape(d.Path))
	switch {
	case d.Snapshot && d.WriteLog != "":
		return nil, fmt.Errorf("%s: a log of writes that are thrown away: choose one of Snapshot and WriteLog", id)
	case d.Snapshot:
		drive += ",snapshot=on"
	case d.WriteLog != "":
		drive = fmt.Sprintf("if=none,id=%s-file,discard=unmap,driver=blklogwrites,log-sector-size=%d", id, orDefault(d.SectorSize, 512)) +
			fmt.Sprintf(",file.driver=%s,file.discard=unmap,file.file.driver=file,file.file.filename=%s", format, escape(d.Path)) +
			// The log outlives the machine, not the host: syncing it would only slow the
			// guest down.
			fmt.Sprintf(",log.driver=file,log.cache.no-flush=on,log.filename=%s", escape(d.WriteLog))
	}

	var device string
	serial := d.Serial
	switch d.Bus {
	case "", Virtio:
		device = "virtio-blk-pci"
	case SATA:
		// QEMU accepts no other logical sector size on this bus.
		if d.SectorSize != 0 && d.SectorSize != 512 {
			return nil, fmt.Errorf("%s: sata disks have 512-byte sectors here, not %d: use virtio, scsi or nvme", id, d.SectorSize)
		}
		device = fmt.Sprintf("ide-hd,bus=ide.%d", i)
	case NVMe:
		device = "nvme"
		if serial == "" {
			serial = id // QEMU refuses an NVMe controller without a serial number
		}
	case SCSI:
		device = "scsi-hd,bus=scsi.0"
	default:
		return nil, fmt.Errorf("%s: bus %q: want %q, %q, %q or %q", id, d.Bus, Virtio, SATA, NVMe, SCSI)
	}
	device += fmt.Sprintf(",id=%s,drive=%s-file", id, id)
	if serial != "" {
		device += ",serial=" + escape(serial)
	}
	if d.SectorSize != 0 {
		device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%d", d.SectorSize, d.SectorSize)
	}
	return []string{"-drive", drive, "-device", device + bootIndex(order, id)}, nil
}

func (n NIC) args(i int, order map[string]int) []string {
	id := fmt.Sprintf("nic%d", i)
	model := n.Model
	if model == "" {
		model = "virtio-net-pci"
	}
	device := model + ",id=" + id
	if n.MAC != "" {
		device += ",mac=" + n.MAC
	}
	var a []string
	netdev := n.Netdev
	if n.Tap != "" {
		netdev = fmt.Sprintf("tap,ifname=%s,script=no,downscript=no", escape(n.Tap))
	}
	if netdev != "" {
		kind, options, more := strings.Cut(netdev, ",")
		spec := fmt.Sprintf("%s,id=%s-net", kind, id)
		if more {
			spec += "," + options
		}
		a = append(a, "-netdev", spec)
		device += fmt.Sprintf(",netdev=%s-net", id)
	}
	if !n.BootROM {
		device += ",romfile="
	}
	return append(a, "-device", device+bootIndex(order, id))
}

func bootIndex(order map[string]int, id string) string {
	if n, ok := order[id]; ok {
		return fmt.Sprintf(",bootindex=%d", n)
	}
	return ""
}

// escape doubles commas, which otherwise end a value in QEMU's option syntax.
func escape(value string) string {
	return strings.ReplaceAll(value, ",", ",,")
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}
