package signature

// magic is a fixed text at a fixed place; negative offsets count from the end
// of the partition.
type magic struct {
	kind   string
	offset int64
	text   string
}

var magics = []magic{
	// Containers, and what stacks on block devices.
	{"ddf_raid_member", -512, "\xde\x11\xde\x11"},
	{"ddf_raid_member", -257 * 512, "\xde\x11\xde\x11"},
	{"isw_raid_member", -1024, "Intel Raid ISM Cfg Sig. "},
	{"lsi_mega_raid_member", -512, "$XIDE$"},
	{"nvidia_raid_member", -1024, "NVIDIA  "},
	{"jmicron_raid_member", -512, "JM"},
	// The second mark of each is of an array that is broken.
	{"hpt37x_raid_member", 0x1220, "\xf0\x16\x78\x5a"},
	{"hpt37x_raid_member", 0x1220, "\xfd\x16\x78\x5a"},
	{"hpt45x_raid_member", -11 * 512, "\xf3\x16\x78\x5a"},
	{"hpt45x_raid_member", -11 * 512, "\xfd\x16\x78\x5a"},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"bcachefs", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x80"},
	{"bcachefs", 4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"},
	{"ceph_bluestore", 0, "bluestore block device"},
	{"LVM1_member", 0, "HM\x01\x00"},
	{"LVM1_member", 0, "HM\x02\x00"},
	{"DM_snapshot_cow", 0, "SnAp"},
	{"DM_verity_hash", 0, "verity\x00\x00"},
	{"DM_integrity", 0, "integrt\x00"},
	{"BitLocker", 3, "-FVE-FS-"},
	{"VMFS_volume_member", 1 << 20, "\x0d\xd0\x01\xc0"},
	{"VMFS", 2 << 20, "\x5e\xf1\xab\x2f"},
	{"ubi", 0, "UBI#"},
	{"vdo", 0, "dmvdo001"},
	{"stratis", 512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"},
	{"stratis", 9*512 + 4, "!Stra0tis\x86\xff\x02^\x41rh"},
	{"oracleasm", 32, "ORCLDISK"},

	{"swsuspend", 0, "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"}, // TuxOnIce

	// File systems.
	{"xfs", 0, "XFSB"},
	{"xfs_external_log", 0, "\xfe\xed\xba\xbe"},
	{"exfs", 0, "EXFS"},
	{"reiserfs", 8<<10 + 0x34, "ReIsErFs"},
	{"reiserfs", 64<<10 + 0x34, "ReIsErFs"},
	{"reiserfs", 64<<10 + 0x34, "ReIsEr2Fs"},
	{"reiserfs", 64<<10 + 0x34, "ReIsEr3Fs"},
	{"reiser4", 64 << 10, "ReIsEr4"},
	{"jfs", 32 << 10, "JFS1"},
	{"udf", 32<<10 + 1, "BEA01"},
	{"udf", 34<<10 + 1, "BEA01"},
	{"udf", 32<<10 + 1, "NSR0"},
	{"udf", 34<<10 + 1, "NSR0"},
	{"iso9660", 32<<10 + 1, "CD001"},
	{"iso9660", 32<<10 + 9, "CDROM"},
	{"hpfs", 8 << 10, "\x49\xe8\x95\xf9"},
	{"ntfs", 3, "NTFS    "},
	{"ReFS", 0, "\x00\x00\x00ReFS\x00"},
	{"exfat", 3, "EXFAT   "},
	{"cramfs", 0, "\x45\x3d\xcd\x28"},
	{"cramfs", 0, "\x28\xcd\x3d\x45"},
	{"cramfs", 512, "\x45\x3d\xcd\x28"},
	{"romfs", 0, "-rom1fs-"},
	{"gfs", 64 << 10, "\x01\x16\x19\x70\x00\x00\x00\x02"},
	{"gfs2", 64 << 10, "\x01\x16\x19\x70\x00\x00\x00\x01"},
	{"ocfs", 8, "OracleCFS"},
	// OCFS2 has its super block in block 2, of 512 to 4096 bytes.
	{"ocfs2", 1 << 10, "OCFSV2"},
	{"ocfs2", 2 << 10, "OCFSV2"},
	{"ocfs2", 4 << 10, "OCFSV2"},
	{"ocfs2", 8 << 10, "OCFSV2"},
	{"vxfs", 1 << 10, "\xf5\xfc\x01\xa5"},
	{"vxfs", 8 << 10, "\xa5\x01\xfc\xf5"},
	{"squashfs", 0, "hsqs"},
	{"squashfs", 0, "sqsh"},
	{"nss", 4 << 10, "SPB5"},
	{"btrfs", 64<<10 + 64, "_BHRfS_M"},
	{"ubifs", 0, "\x31\x18\x10\x06"},
	{"bfs", 0, "\xce\xfa\xad\x1b"},
	{"befs", 0x20, "BFS1"},
	{"befs", 0x220, "BFS1"},
	{"befs", 0x220, "1SFB"},
	{"f2fs", 1 << 10, "\x10\x20\xf5\xf2"},
	{"f2fs", 5 << 10, "\x10\x20\xf5\xf2"}, // the second super block
	{"apfs", 32, "NXSB"},
	{"zonefs", 0, "SFOZ"},
	{"erofs", 1 << 10, "\xe2\xe1\xf5\xe0"},

	// Partition tables of other systems.
	{"aix", 0, "\xc9\xc2\xd4\xc1"},
	{"ultrix", 16<<10 - 72, "\x57\x29\x03\x00\x01\x00\x00\x00"},
	{"bsd", 512, "\x57\x45\x56\x82"},
	{"bsd", 64, "\x57\x45\x56\x82"},
	{"sgi", 0, "\x0b\xe5\xa9\x41"},
	{"sun", 508, "\xda\xbe"},
	{"mac", 512, "PM\x00\x00"},
}
