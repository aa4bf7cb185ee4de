package partition

// gptTypeName gives a type GUID in words. GUIDs are from UEFI 2.10 table 5.7,
// the Discoverable Partitions Specification (uapi-group.org) and util-linux's
// list of partition types.
func gptTypeName(guid string) string {
	switch guid {
	case typeESP:
		return "EFI system"
	case "21686148-6449-6e6f-744e-656564454649":
		return "BIOS boot"
	case "9e1a2d38-c612-4316-aa26-8b49521e5a8b":
		return "PowerPC PReP boot"
	case typeXBOOTLDR:
		return "Linux extended boot"
	case typeLinuxData:
		return "Linux filesystem"
	case typeRootX8664:
		return "Linux root x86-64"
	case typeRootX86:
		return "Linux root x86"
	case typeRootARM64:
		return "Linux root arm64"
	case typeRootARM:
		return "Linux root arm"
	case typeRootRISCV64:
		return "Linux root riscv64"
	case typeUsrX8664:
		return "Linux usr x86-64"
	case typeUsrX86:
		return "Linux usr x86"
	case typeUsrARM64:
		return "Linux usr arm64"
	case typeUsrARM:
		return "Linux usr arm"
	case typeUsrRISCV64:
		return "Linux usr riscv64"
	case "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5":
		return "Linux root verity x86-64"
	case "df3300ce-d69f-4c92-978c-9bfb0f38d820":
		return "Linux root verity arm64"
	case typeHome:
		return "Linux home"
	case typeUserHome:
		return "Linux user's home"
	case typeSrv:
		return "Linux server data"
	case typeVar:
		return "Linux variable data"
	case typeTmp:
		return "Linux temporary data"
	case typeSwap:
		return "Linux swap"
	case typeRAID:
		return "Linux RAID"
	case typeLVM:
		return "Linux LVM"
	case typeLUKS:
		return "Linux LUKS"
	case "8da63339-0007-60c0-c436-083ac8230908":
		return "Linux reserved"
	case typeBasicData:
		return "Microsoft basic data"
	case "e3c9e316-0b5c-4db8-817d-f92df00215ae":
		return "Microsoft reserved"
	case "de94bba4-06d1-4d40-a16a-bfd50179d6ac":
		return "Windows recovery"
	case typeZFS:
		return "ZFS"
	case typeFreeBSDZFS:
		return "FreeBSD ZFS"
	case "516e7cb6-6ecf-11d6-8ff8-00022d09712b":
		return "FreeBSD UFS"
	case "48465300-0000-11aa-aa11-00306543ecac":
		return "Apple HFS+"
	case "7c3457ef-0000-11aa-aa11-00306543ecac":
		return "Apple APFS"
	case "fe3a2a5d-4f32-41a7-b725-accc3285a309":
		return "ChromeOS kernel"
	case typeChromeOSRoot:
		return "ChromeOS root"
	}
	return ""
}

// The type GUIDs that more than a name hangs on.
const (
	typeESP         = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	typeLinuxData   = "0fc63daf-8483-4772-8e79-3d69d8477de4"
	typeRootX86     = "44479540-f297-41b2-9af7-d131d5f0458a"
	typeRootX8664   = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	typeRootARM     = "69dad710-2ce4-4e3c-b16c-21a1d49abed3"
	typeRootARM64   = "b921b045-1df0-41c3-af44-4c6f280d3fae"
	typeRootRISCV64 = "72ec70a6-cf74-40e6-bd49-4bda08e8f224"
	typeHome        = "933ac7e1-2eb4-4f13-b844-0e14e2aef915"
	typeSrv         = "3b8f8425-20e0-4f3b-907f-1a25a76f98e8"
	typeVar         = "4d21b016-b534-45c2-a9fb-5c16e091fd2d"
	typeTmp         = "7ec6f557-3bc5-4aca-b293-16ef5df639d1"

	typeXBOOTLDR     = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
	typeUsrX8664     = "8484680c-9521-48c6-9c11-b0720656f69e"
	typeUsrX86       = "75250d76-8cc6-458e-bd66-bd47cc81a812"
	typeUsrARM64     = "b0e01050-ee5f-4390-949a-9101b17104e9"
	typeUsrARM       = "7d0359a3-02b3-4f0a-865c-654403e70625"
	typeUsrRISCV64   = "beaec34b-8442-439b-a40b-984381ed097d"
	typeUserHome     = "773f91ef-66d4-49b5-bd83-d683bf40ad16"
	typeChromeOSRoot = "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec"
	typeBasicData    = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"

	typeSwap       = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"
	typeRAID       = "a19d880f-05fc-4d3b-a006-743f0f84911e"
	typeLVM        = "e6d6d379-f507-44c2-a23c-238f2a3df928"
	typeLUKS       = "ca7d7ccb-63ed-4c53-861c-1742536059cc"
	typeZFS        = "6a898cc3-1dd2-11b2-99a6-080020736631"
	typeFreeBSDZFS = "516e7cba-6ecf-11d6-8ff8-00022d09712b"
)

// mbrTypeName gives an MBR partition type in words.
func mbrTypeName(typ byte) string {
	switch typ {
	case 0x05, 0x0f, 0x85:
		return "extended"
	case 0x01:
		return "FAT12"
	case 0x04, 0x06, 0x0e:
		return "FAT16"
	case 0x0b, 0x0c:
		return "FAT32"
	case 0x07:
		return "NTFS or exFAT"
	case 0x41:
		return "PowerPC PReP boot"
	case 0x82:
		return "Linux swap"
	case 0x83:
		return "Linux filesystem"
	case 0x8e:
		return "Linux LVM"
	case 0xa5:
		return "FreeBSD"
	case 0xaf:
		return "Apple HFS+"
	case 0xda:
		return "raw data"
	case 0xee:
		return "GPT protective"
	case 0xef:
		return "EFI system"
	case 0xfd:
		return "Linux RAID"
	}
	return ""
}

// Growable is the usual judgement for [GrowLast]: partitions whose type says
// that a Linux file system is directly inside. Swap, LVM, RAID and LUKS are
// not: growing what is around them gives the file system nothing. Neither is
// Microsoft basic data, which may be NTFS.
func Growable(p Partition) bool {
	switch p.Type {
	case typeLinuxData, typeRootX86, typeRootX8664, typeRootARM, typeRootARM64, typeRootRISCV64,
		typeHome, typeSrv, typeVar, typeTmp, "0x83":
		return true
	}
	return false
}

// Extended reports whether the type is that of an MBR's container of logical
// partitions.
func Extended(typ string) bool { return typ == "0x5" || typ == "0xf" || typ == "0x85" }

// Container is what the type says to be inside, as blkid names it, where that
// is no file system but what carries one; empty for any other type.
func Container(typ string) string {
	switch typ {
	case typeZFS, typeFreeBSDZFS, "0xbf":
		return "zfs_member"
	case typeRAID, "0xfd":
		return "linux_raid_member"
	case typeLVM, "0x8e":
		return "LVM2_member"
	case typeLUKS:
		return "crypto_LUKS"
	case typeSwap, "0x82":
		return "swap"
	}
	return ""
}

// LinuxData reports whether the type says, or leaves open, that a Linux file
// system is directly inside. Every other type gives the partition to something
// else: a container, another system, firmware.
func LinuxData(p Partition) bool {
	switch p.Type {
	case typeXBOOTLDR, typeUsrX8664, typeUsrX86, typeUsrARM64, typeUsrARM, typeUsrRISCV64, typeUserHome, typeChromeOSRoot, "0xea",
		typeBasicData: // which older tools gave to Linux too
		return true
	}
	return Growable(p)
}
