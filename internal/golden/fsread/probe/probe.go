// Package probe tells what a partition holds by the marks on it.
package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/gild-dev/gild/internal/disk/signature"
	"github.com/gild-dev/gild/internal/golden/fsread/fat"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// Signature is what a partition says about itself, in blkid's words.
type Signature struct {
	// "ext4", "xfs", "vfat", "btrfs", "crypto_LUKS", "LVM2_member", ...; empty when
	// nothing was recognised
	Kind  string
	UUID  string
	Label string
	// Others are the kinds whose marks are there as well, dead or alive: what Kind
	// calls free may be theirs.
	Others []string
	// Rivals are those of Others that may be the truth in the place of Kind.
	Rivals []string
}

// probeHead covers every superblock that is looked for but those of btrfs and
// ZFS, which lie beyond it.
const probeHead = 68 << 10

// Find looks for the superblock of a file system or of a container for one in
// the first size bytes of r. It recognises more than can be read, so that an
// error can name what is there. Nothing recognised is an empty Kind; the error
// is only the reader's.
func Find(r io.ReaderAt, size int64) (Signature, error) {
	sig, err := first(r, size)
	if err != nil {
		return Signature{}, err
	}
	marks, err := signature.Find(r, size)
	if err != nil {
		return Signature{}, fmt.Errorf("probe file system: %w", err)
	}
	weigh(&sig, marks)
	return sig, nil
}

// first is the superblock that a look at the usual places finds first.
func first(r io.ReaderAt, size int64) (Signature, error) {
	head := make([]byte, max(0, min(size, probeHead)))
	if len(head) > 0 {
		if _, err := volume.ReadFull(r, head, 0); err != nil {
			return Signature{}, fmt.Errorf("probe file system: %w", err)
		}
	}
	// Containers first: the file system inside may lie where its superblock is seen
	// through them. FAT last: it has no magic number worth the name.
	for _, probe := range []func([]byte) Signature{
		probeRAID, probeLVM, probeLUKS, probeXFS, probeExt, probeBtrfs, probeSwap, probeSimple, probeF2FS,
	} {
		if sig := probe(head); sig.Kind != "" {
			return sig, nil
		}
	}
	return probeFAT(head, r, size)
}

// has reports whether magic stands at off.
func has(b []byte, off int, magic string) bool {
	return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
}

func probeLUKS(b []byte) Signature {
	if !has(b, 0, "LUKS\xba\xbe") || len(b) < 512 {
		return Signature{}
	}
	sig := Signature{Kind: "crypto_LUKS", UUID: cString(b[168:208])}
	if binary.BigEndian.Uint16(b[6:]) == 2 {
		sig.Label = cString(b[24:72])
	}
	return sig
}

// probeLVM looks into the first four sectors, where a physical volume may keep
// its label.
func probeLVM(b []byte) Signature {
	for at := 0; at < 4*512 && len(b) >= at+512; at += 512 {
		sector := b[at : at+512]
		if !has(sector, 0, "LABELONE") || !has(sector, 24, "LVM2 001") {
			continue
		}
		sig := Signature{Kind: "LVM2_member"}
		if off := binary.LittleEndian.Uint32(sector[20:]); off <= 512-32 {
			id := volume.Label(sector[off : off+32])
			if len(id) == 32 {
				sig.UUID = strings.Join([]string{id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:]}, "-")
			}
		}
		return sig
	}
	return Signature{}
}

// probeRAID knows md's version 1.1 and 1.2; 1.0 and 0.90 live at the end and
// leave a readable file system in front.
func probeRAID(b []byte) Signature {
	for _, at := range []int{0, 4096} {
		if has(b, at, "\xfc\x4e\x2b\xa9") && len(b) >= at+64 && binary.LittleEndian.Uint32(b[at+4:]) == 1 {
			return Signature{Kind: "linux_raid_member", UUID: formatUUID(b[at+16:]), Label: cString(b[at+32 : at+64])}
		}
	}
	return Signature{}
}

func probeXFS(b []byte) Signature {
	if !has(b, 0, "XFSB") || len(b) < 512 || !signature.XFSNumbers(b) {
		return Signature{}
	}
	return Signature{Kind: "xfs", UUID: formatUUID(b[32:]), Label: cString(b[108:120])}
}

func probeExt(b []byte) Signature {
	if !has(b, 1024+0x38, "\x53\xef") || len(b) < 2048 {
		return Signature{}
	}
	sb := b[1024:2048]
	return Signature{Kind: signature.ExtKind(sb), UUID: formatUUID(sb[0x68:]), Label: cString(sb[0x78:0x88])}
}

func probeBtrfs(b []byte) Signature {
	const at = 64 << 10
	if !has(b, at+64, "_BHRfS_M") || len(b) < at+0x12b+256 {
		return Signature{}
	}
	return Signature{Kind: "btrfs", UUID: formatUUID(b[at+32:]), Label: cString(b[at+0x12b : at+0x12b+256])}
}

// probeSwap looks at the end of the first page, whatever the page size of the
// machine that made it.
func probeSwap(b []byte) Signature {
	for _, page := range []int{4 << 10, 8 << 10, 16 << 10, 64 << 10} {
		if has(b, page-10, "SWAPSPACE2") {
			return Signature{Kind: "swap", UUID: formatUUID(b[1036:]), Label: cString(b[1052:1068])}
		}
	}
	return Signature{}
}

// probeSimple knows the rest by magic alone.
func probeSimple(b []byte) Signature {
	switch {
	case has(b, 0, "hsqs"):
		return Signature{Kind: "squashfs"}
	case has(b, 3, "NTFS    ") && len(b) >= 512:
		return Signature{Kind: "ntfs", UUID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(b[0x48:]))}
	case has(b, 3, "EXFAT   "):
		return Signature{Kind: "exfat"}
	case has(b, 3, "-FVE-FS-"):
		return Signature{Kind: "BitLocker"}
	case has(b, 1024, "\xe2\xe1\xf5\xe0"):
		return Signature{Kind: "erofs"}
	case has(b, 32769, "CD001"):
		return Signature{Kind: "iso9660"}
	}
	return Signature{}
}

func probeF2FS(b []byte) Signature {
	const at, label, units = 1024, 124, 512
	if !has(b, at, "\x10\x20\xf5\xf2") || len(b) < at+label+2*units {
		return Signature{}
	}
	var name []uint16
	for i := range units {
		u := binary.LittleEndian.Uint16(b[at+label+2*i:])
		if u == 0 {
			break
		}
		name = append(name, u)
	}
	return Signature{Kind: "f2fs", UUID: formatUUID(b[at+108:]), Label: string(utf16.Decode(name))}
}

// probeFAT needs the root directory for the label, which mkfs.vfat keeps there
// as well as in the boot sector; blkid believes the directory.
func probeFAT(head []byte, r io.ReaderAt, size int64) (Signature, error) {
	if !fat.Claims(head, size) {
		return Signature{}, nil
	}
	v, err := fat.Open(volume.NewDevice(r, size))
	if errors.Is(err, volume.ErrCorrupt) {
		return Signature{}, nil
	}
	if err != nil {
		return Signature{}, fmt.Errorf("probe file system: %w", err)
	}
	return Signature{Kind: "vfat", UUID: v.Serial(), Label: v.Label()}, nil
}

// formatUUID prints the 16 bytes at b; all zero means none.
func formatUUID(b []byte) string {
	id := b[:16]
	if bytes.Equal(id, make([]byte, 16)) {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// cString takes a fixed field up to its first NUL.
func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return volume.Label(b)
}
