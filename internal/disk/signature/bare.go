package signature

import "encoding/binary"

// bare reports whether the numbers around a mark are none that its format
// writes (libblkid, superblocks: ntfs.c, iso9660.c, xfs.c, swap.c). Formats
// that libblkid takes by their text alone are never bare.
func (s *search) bare(m Signature) bool {
	switch m.Kind {
	case "ntfs":
		b := s.at(0, 512)
		return b != nil && !ntfsNumbers(b)
	case "iso9660":
		// The version of a volume descriptor is 1; High Sierra has its text elsewhere.
		b := s.at(32768, 8)
		return b != nil && string(b[1:6]) == "CD001" && b[6] != 1
	case "xfs":
		b := s.at(0, 128)
		return b != nil && !XFSNumbers(b)
	case "swap":
		head := s.at(1024, 8)
		return head != nil && string(s.at(m.Offset, 10)) == "SWAPSPACE2" &&
			(!oneInAnyOrder(head[:4]) || binary.LittleEndian.Uint32(head[4:]) == 0)
	}
	return false
}

func ntfsNumbers(b []byte) bool {
	sector, cluster := binary.LittleEndian.Uint16(b[11:]), b[13]
	// Above 128 it is a power of two with its sign turned.
	whole := cluster != 0 && (cluster&(cluster-1) == 0 || cluster >= 0xe0)
	unused := binary.LittleEndian.Uint16(b[14:]) == 0 && b[16] == 0 &&
		binary.LittleEndian.Uint16(b[17:]) == 0 && binary.LittleEndian.Uint16(b[19:]) == 0
	return sector >= 256 && sector <= 4096 && sector&(sector-1) == 0 && whole && unused
}

// XFSNumbers reports whether a super block of XFS, of at least 128 bytes, has
// sizes that there are (fs/xfs/libxfs, xfs_sb.c, xfs_validate_sb_common).
func XFSNumbers(b []byte) bool {
	power := func(size uint32, log byte, least, most uint32) bool {
		return size >= least && size <= most && log < 32 && size == 1<<log
	}
	return binary.BigEndian.Uint32(b[88:]) != 0 && // allocation groups
		power(uint32(binary.BigEndian.Uint16(b[102:])), b[121], 512, 32<<10) &&
		power(binary.BigEndian.Uint32(b[4:]), b[120], 512, 64<<10) &&
		power(uint32(binary.BigEndian.Uint16(b[104:])), b[122], 256, 2048)
}

func oneInAnyOrder(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == 1 || binary.BigEndian.Uint32(b) == 1
}
