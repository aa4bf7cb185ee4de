package signature

import (
	"encoding/binary"
	"slices"
)

// firmware finds what the RAID of mainboards and cheap controllers leaves on
// its disks. Their metadata is documented by those who had to read it: dmraid's
// format handlers, libblkid's superblocks.
func (s *search) firmware() {
	if id, text := s.at(-512, 4), s.at(-256, 4); string(id) == "\x37\xfc\x4d\x1e" && string(text) == "DPTM" {
		s.add("adaptec_raid_member", -512)
	}
	for _, sectors := range []int64{16, 63, 255, 256, 399, 591, 675, 735, 911, 951, 974, 991, 3087} {
		s.magic(magic{"promise_fasttrack_raid_member", -512 * sectors, "Promise Technology, Inc."})
	}
	s.siliconImage()
	s.via()
}

// siliconImage tells its sector by a number and by 16-bit words whose sum is
// zero.
func (s *search) siliconImage() {
	b := s.at(-512, 0x140)
	if b == nil || binary.LittleEndian.Uint32(b[0x60:]) != 0x2f000000 {
		return
	}
	var sum uint16
	for words := range slices.Chunk(b, 2) {
		sum += binary.LittleEndian.Uint16(words)
	}
	if sum == 0 {
		s.add("silicon_medley_raid_member", -512)
	}
}

// via tells its sector by two bytes, and by the sum of 50 in the one behind
// them.
func (s *search) via() {
	b := s.at(-512, 51)
	if b == nil || b[0] != 0x55 || b[1] != 0xaa {
		return
	}
	var sum byte
	for _, c := range b[:50] {
		sum += c
	}
	if sum == b[50] {
		s.add("via_raid_member", -512)
	}
}
