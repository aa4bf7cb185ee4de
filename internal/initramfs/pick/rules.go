package pick

// Rule takes or leaves modules, by folder or by name. One of Dir and Name is
// set.
type Rule struct {
	Dir  string // below lib/modules/RELEASE/kernel, with all beneath it: "drivers/net/ethernet"
	Name string // one module, '-' and '_' equal
	Why  string // for the reader of this list
}

// Rules say which modules a machine is given. Left ones are left even inside of
// a folder that is taken, yet come back where a taken module needs them.
type Rules struct {
	Take []Rule
	Skip []Rule
}

// Generic returns the rules for a machine of which nothing is known but that it
// has a wired network and a disk.
func Generic() Rules {
	return Rules{
		Take: []Rule{
			// Network.
			{Dir: "drivers/net/ethernet", Why: "wired adapters of every maker"},
			{Dir: "drivers/net/phy", Why: "many adapters load their PHY's driver by alias at open, not as a dependency"},
			{Dir: "drivers/net/mdio", Why: "the bus those PHYs sit on"},
			{Dir: "drivers/net/pcs", Why: "the coding layer between some adapters and their PHY"},
			{Name: "virtio_net", Why: "QEMU, most clouds"},
			{Name: "net_failover", Why: "virtio_net paired with a passed-through adapter"},
			{Name: "failover", Why: "same"},
			{Name: "hv_netvsc", Why: "Hyper-V, Azure"},
			{Name: "pci-hyperv", Why: "Azure shows accelerated adapters and NVMe on this bus"},
			{Name: "vmxnet3", Why: "VMware"},
			{Name: "xen-netfront", Why: "Xen"},
			{Name: "8021q", Why: "a machine whose port is a VLAN trunk"},
			{Name: "bonding", Why: "a switch that wants LACP before it forwards"},
			{Name: "af_packet", Why: "DHCP before there is an address, where it is a module"},
			{Name: "r8152", Why: "USB: the most common adapter in docks and dongles"},
			{Name: "ax88179_178a", Why: "USB: gigabit dongles"},
			{Name: "asix", Why: "USB: 100 Mbit/s dongles"},
			{Name: "aqc111", Why: "USB: 5 Gbit/s dongles"},
			{Name: "cdc_ether", Why: "USB: the standard class, also virtual adapters of a BMC"},
			{Name: "cdc_eem", Why: "USB: same"},
			{Name: "cdc_ncm", Why: "USB: same, newer"},
			{Name: "rndis_host", Why: "USB: same, and what older BMCs speak"},
			{Name: "smsc75xx", Why: "USB: soldered on boards"},
			{Name: "smsc95xx", Why: "USB: soldered on boards, Raspberry Pi up to 3"},
			{Name: "lan78xx", Why: "USB: soldered on boards, Raspberry Pi 3B+"},

			// Disks.
			{Dir: "drivers/ata", Why: "SATA and PATA controllers"},
			{Dir: "drivers/scsi", Why: "SAS, RAID and para-virtual SCSI controllers, and the disk driver sd_mod"},
			{Dir: "drivers/message/fusion", Why: "older LSI controllers, VMware's default of long"},
			{Dir: "drivers/nvme/host", Why: "NVMe"},
			{Dir: "drivers/mmc", Why: "eMMC and SD cards"},
			{Name: "virtio_blk", Why: "QEMU, most clouds"},
			{Name: "xen-blkfront", Why: "Xen"},
			{Name: "loop", Why: "a disk image as a disk"},
			{Name: "nbd", Why: "a disk that the network completes"},
			{Name: "dm-mod", Why: "moves a running system from nbd to its disk"},
			{Name: "mtip32xx", Why: "PCIe flash from before NVMe"},
			{Name: "vmd", Why: "Intel servers hide NVMe disks behind it"},
			{Name: "uas", Why: "USB disks"},
			{Name: "usb-storage", Why: "USB sticks and card readers"},
			{Name: "rtsx_pci", Why: "PCIe card readers: parent of rtsx_pci_sdmmc"},

			// Buses that the above hang on.
			{Dir: "drivers/virtio", Why: "PCI and MMIO transports"},
			{Dir: "drivers/usb/host", Why: "xHCI, EHCI, OHCI, UHCI"},
			{Dir: "drivers/usb/dwc2", Why: "USB of many boards"},
			{Dir: "drivers/usb/dwc3", Why: "same"},
			{Dir: "drivers/pci/controller", Why: "PCIe of boards without ACPI"},
			{Dir: "drivers/phy", Why: "boards: adapter, USB or PCIe wait for their PHY"},
			{Dir: "drivers/clk", Why: "boards: and for their clocks"},
			{Dir: "drivers/regulator", Why: "boards: and for their power"},
			{Dir: "drivers/reset", Why: "boards: and for their reset lines"},
			{Dir: "drivers/pinctrl", Why: "boards: and for their pins"},
			{Dir: "drivers/mailbox", Why: "boards: and for the firmware that switches those"},
			{Name: "hv_vmbus", Why: "Hyper-V's bus"},
			{Name: "hv_utils", Why: "Hyper-V resets a guest that does not answer its heartbeat"},

			// File systems of a root, and what they ask the kernel for by name.
			{Name: "ext4", Why: "root file system"},
			{Name: "xfs", Why: "root file system"},
			{Name: "btrfs", Why: "root file system"},
			{Name: "vfat", Why: "EFI system partition"},
			{Name: "nls_cp437", Why: "vfat asks for it at mount, not as a dependency"},
			{Name: "nls_ascii", Why: "same: Debian's default"},
			{Name: "nls_iso8859-1", Why: "same"},
			{Name: "nls_utf8", Why: "same"},
			{Name: "efivarfs", Why: "UEFI boot order after a flash"},
			{Name: "crc32c_generic", Why: "ext4, xfs and btrfs refuse to mount without a crc32c"},
			{Name: "crc32c-intel", Why: "the fast one"},
			{Name: "crc32-pclmul", Why: "fast CRC for the same"},
			{Name: "crct10dif_generic", Why: "sd_mod asks for crct10dif"},
			{Name: "crct10dif-pclmul", Why: "the fast one"},
			{Name: "blake2b_generic", Why: "a checksum that btrfs may have been made with"},
			{Name: "xxhash_generic", Why: "same"},
			{Name: "sha256_generic", Why: "same"},

			// The rescue shell.
			{Name: "usbhid", Why: "USB keyboard, also a BMC's virtual one"},
			{Name: "hid-generic", Why: "same"},
			{Name: "hyperv-keyboard", Why: "Hyper-V's console"},
			{Name: "atkbd", Why: "PS/2 keyboard, and QEMU's"},
			{Name: "i8042", Why: "same"},

			// The machine itself.
			{Name: "qemu_fw_cfg", Why: "settings that QEMU hands to a guest"},
			{Name: "virtio-rng", Why: "an old kernel without entropy blocks the first key"},
			{Name: "virtio_console", Why: "consoles of clouds"},
		},
		Skip: []Rule{
			{Dir: "drivers/net/ethernet/mellanox/mlxsw", Why: "the inside of a switch, with megabytes of firmware"},
			{Dir: "drivers/net/ethernet/mellanox/mlxfw", Why: "flashes a switch"},
			{Dir: "drivers/net/ethernet/netronome", Why: "a network processor whose firmware alone is larger than all else"},
			{Dir: "drivers/net/ethernet/cavium/liquidio", Why: "same"},
			{Dir: "drivers/net/ethernet/chelsio/inline_crypto", Why: "offloads no installation needs"},
			{Dir: "drivers/scsi/device_handler", Why: "paths of a storage network, chosen by multipathd"},
			{Dir: "drivers/scsi/fcoe", Why: "needs fcoe-utils"},
			{Dir: "drivers/scsi/bnx2fc", Why: "same"},
			{Dir: "drivers/scsi/qedf", Why: "same"},
			{Dir: "drivers/scsi/bnx2i", Why: "iSCSI offload needs iscsid"},
			{Dir: "drivers/scsi/be2iscsi", Why: "same"},
			{Dir: "drivers/scsi/cxgbi", Why: "same"},
			{Dir: "drivers/scsi/qedi", Why: "same"},
			{Dir: "drivers/scsi/qla4xxx", Why: "same"},
			{Name: "iscsi_tcp", Why: "same"},
			{Dir: "drivers/scsi/pcmcia", Why: "cards that no bootable machine has"},
			{Name: "scsi_debug", Why: "invents disks"},
			{Name: "st", Why: "tapes"},
			{Name: "osst", Why: "tapes"},
			{Name: "ch", Why: "tape changers"},
			{Name: "sr_mod", Why: "CD drives"},
			{Name: "pata_legacy", Why: "probes I/O ports and can hang a machine"},
			{Name: "mptctl", Why: "an interface for management programs"},
			{Name: "mptlan", Why: "network over Fibre Channel"},
			{Name: "virtio_balloon", Why: "gives memory away while it is needed"},
			{Name: "virtio_mem", Why: "same"},
			{Name: "virtio_input", Why: "mice and tablets"},
			{Name: "sl811_cs", Why: "PCMCIA"},
		},
	}
}
