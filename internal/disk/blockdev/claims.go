package blockdev

import (
	"encoding/binary"
	"slices"
	"strings"
)

// mark is a claim with where it was found.
type mark struct {
	code string
	at   int64 // bytes from the start of what was probed
}

// claims looks for the marks of storage software that does not begin with a
// file system.
func (p prober) claims() []mark {
	var found []mark
	for _, m := range magics {
		if m.code != "" && p.has(m) {
			found = append(found, mark{m.code, p.place(m)})
		}
	}
	for _, probe := range []struct {
		code string
		at   func() (int64, bool)
	}{
		{"md", func() (int64, bool) { _, at, ok := p.mdPlace(); return at, ok }},
		{"zfs", p.zfsPlace},
		{"luks", p.luks2Copy},
		{"cluster", p.drbd},
	} {
		if at, ok := probe.at(); ok {
			found = append(found, mark{probe.code, at})
		}
	}
	return found
}

// luks2Copy finds the second header of LUKS2, by which a volume is recovered
// whose first was overwritten (LUKS2 On-Disk Format 1.1.2, 2.2). It names its
// own offset, so that one that was copied along with other data does not count.
func (p prober) luks2Copy() (int64, bool) {
	for at := int64(16 << 10); at <= 4<<20; at *= 2 {
		b := p.at(at, 264)
		if b != nil && string(b[:6]) == "SKUL\xba\xbe" && binary.BigEndian.Uint64(b[256:]) == uint64(at) {
			return at, true
		}
	}
	return 0, false
}

// drbd looks at the last 4 KiB, where DRBD has its meta data when it is
// internal: a big-endian magic behind a handful of fields, of which later
// versions have more (drbd, drbdmeta.c).
func (p prober) drbd() (int64, bool) {
	at := p.size&^4095 - 4096
	b := p.at(at, 128)
	for ; len(b) >= 4; b = b[4:] {
		switch binary.BigEndian.Uint32(b) {
		case 0x8374026b, 0x8374026c, 0x8374026d: // version 8, 8 unclean, 9
			return at, true
		}
	}
	return 0, false
}

// cephType recognises the partition types of Ceph stores (ceph, systemd and
// ceph-disk): those of which the type alone tells, because a plain file system
// is in them, or nothing that is known.
func cephType(guid string) bool {
	if strings.HasPrefix(guid, "4fbd7e29-9d25-41b8-afd0-") || strings.HasPrefix(guid, "45b0969e-9b03-4f30-b4c6-") || // store, journal
		strings.HasPrefix(guid, "cafecafe-9b03-4f30-b4c6-") { // block
		return true
	}
	return slices.Contains([]string{
		"30cd0809-c2b2-499c-8879-2d6b78529876", // block.db
		"5ce17fce-4087-4169-b7ff-056cc58473f9", // block.wal
		"fb3aabf9-d25f-47cc-bf5e-721d1816496b", // lockbox
	}, guid)
}
