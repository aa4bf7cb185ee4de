// Package fsuuid changes the UUID of a file system that is not mounted: ext2 to
// ext4, XFS, FAT, swap.
//
// It is pure: the file system comes in through an [io.ReaderAt], changes go out
// as [Edit] values. A change is not one write, so it is for a disk that nothing
// boots from until all of it is written. One that was broken off is planned
// anew, and comes to the same bytes.
//
// What cannot be changed without rewriting the file system is a [*FixedError].
package fsuuid

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Edit is a replacement of bytes; Offset counts from the first byte of the file
// system.
type Edit struct {
	Offset int64
	Data   []byte
}

// FixedError says why a file system keeps the UUID that it has.
type FixedError struct{ Why string }

func (e *FixedError) Error() string { return "its UUID cannot be changed: " + e.Why }

func fixed(format string, args ...any) error { return &FixedError{fmt.Sprintf(format, args...)} }

// format is one kind of file system.
type format interface {
	// id is the UUID as blkid shows it.
	id() string
	// change plans another one, raw: 4 bytes for FAT, 16 for all others.
	change(raw []byte) ([]Edit, error)
}

// Read gives the UUID of the file system of that kind ("ext4", "xfs", "vfat",
// "swap", ...) in r, which has size bytes, as blkid shows it. It is empty where
// the file system has none.
func Read(kind string, r io.ReaderAt, size int64) (string, error) {
	f, err := open(kind, r, size)
	if err != nil {
		return "", fmt.Errorf("reading the UUID of %.20s: %w", kind, err)
	}
	return f.id(), nil
}

// Change plans the edits after which the file system has the UUID id, to be
// written in their order: what comes last says that all is done. Without any,
// it has that UUID already.
func Change(kind string, r io.ReaderAt, size int64, id string) ([]Edit, error) {
	edits, err := change(kind, r, size, id)
	if err != nil {
		return nil, fmt.Errorf("changing the UUID of %.20s: %w", kind, err)
	}
	return edits, nil
}

func change(kind string, r io.ReaderAt, size int64, id string) ([]Edit, error) {
	f, err := open(kind, r, size)
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || !strings.EqualFold(Format(raw), id) || len(id) != len(cmp.Or(f.id(), id)) {
		return nil, fmt.Errorf("%.40q is no UUID for it", id)
	}
	return f.change(raw)
}

func open(kind string, r io.ReaderAt, size int64) (format, error) {
	d := device{r, size}
	switch kind {
	case "ext2", "ext3", "ext4":
		return openExt(d)
	case "xfs":
		return openXFS(d)
	case "vfat":
		return openFAT(d)
	case "swap":
		return openSwap(d)
	}
	return nil, fixed("gild does not know how to in this kind of file system")
}

// Format writes a raw UUID as blkid does: 16 bytes as lower-case text with
// hyphens, the 4 of a FAT serial number, highest first, as XXXX-XXXX. Of
// another length, or all zero, it is empty.
func Format(raw []byte) string {
	s := hex.EncodeToString(raw)
	switch {
	case strings.Trim(s, "0") == "":
		return ""
	case len(raw) == 4:
		return strings.ToUpper(s[:4] + "-" + s[4:])
	case len(raw) == 16:
		return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
	}
	return ""
}

// Derive gives the identifier that takes the place of old for the holder of
// key: the same ones each time, so that a work which was cut off comes to the
// same end. Of 36 characters it is a random UUID (RFC 9562, version 4) in its
// bits; a FAT serial number and an MBR signature are random altogether.
func Derive(key, old string) string {
	old = strings.ToLower(old)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(old))
	sum := mac.Sum(nil)
	sum[0] |= 1 // zero means that there is none
	if len(old) == 36 {
		sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
		return Format(sum[:16])
	}
	if len(old) == 9 {
		return Format(sum[:4])
	}
	return hex.EncodeToString(sum[:4])
}

// device reads bits of a file system and refuses what lies outside.
type device struct {
	r    io.ReaderAt
	size int64
}

var errOutside = errors.New("it is larger than its partition")

func (d device) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > d.size-int64(n) {
		return nil, errOutside
	}
	b := make([]byte, n)
	if got, err := d.r.ReadAt(b, off); got < n {
		return nil, err
	}
	return b, nil
}

// swap is swap space (linux/swap.h, union swap_header).
type swap struct{ uuid []byte }

const swapUUID = 1024 + 12

func openSwap(d device) (format, error) {
	for _, page := range []int64{4 << 10, 16 << 10, 64 << 10} {
		if b, err := d.at(page-10, 10); err == nil && string(b) == "SWAPSPACE2" {
			uuid, err := d.at(swapUUID, 16)
			return swap{uuid}, err
		}
	}
	return nil, errors.New("no swap space is there")
}

func (s swap) id() string { return Format(s.uuid) }

func (s swap) change(raw []byte) ([]Edit, error) {
	if string(raw) == string(s.uuid) {
		return nil, nil
	}
	return []Edit{{swapUUID, raw}}, nil
}

// fat is FAT12, FAT16 or FAT32 (Microsoft FAT specification 1.03, sections 3
// and 4).
type fat struct {
	device
	serial int64 // where the serial number is in a boot sector
	sector []byte
}

func openFAT(d device) (format, error) {
	b, err := d.at(0, 512)
	if err != nil {
		return nil, err
	}
	f := fat{device: d, serial: 39, sector: b}
	if string(b[82:87]) == "FAT32" {
		f.serial = 67
	} else if string(b[54:58]) != "FAT1" {
		return nil, errors.New("no FAT is there")
	}
	if sig := b[f.serial-1]; b[510] != 0x55 || b[511] != 0xaa || sig != 0x29 && sig != 0x28 {
		return nil, fixed("its boot sector has none")
	}
	return f, nil
}

func (f fat) raw() []byte {
	return binary.BigEndian.AppendUint32(nil, binary.LittleEndian.Uint32(f.sector[f.serial:]))
}

func (f fat) id() string { return Format(f.raw()) }

func (f fat) change(raw []byte) ([]Edit, error) {
	le := binary.LittleEndian.AppendUint32(nil, binary.BigEndian.Uint32(raw))
	places := []int64{0}
	if f.serial == 67 { // FAT32 has a copy of the boot sector, usually in sector 6
		if n := int64(binary.LittleEndian.Uint16(f.sector[50:])); n != 0 && n != 0xffff {
			places = append(places, n*int64(binary.LittleEndian.Uint16(f.sector[11:])))
		}
	}
	var edits []Edit
	for _, at := range places {
		b, err := f.at(at, 512)
		if err != nil {
			return nil, err
		}
		// What is no boot sector is nobody's copy.
		if b[510] == 0x55 && b[511] == 0xaa && string(b[82:87]) == string(f.sector[82:87]) && string(b[f.serial:f.serial+4]) != string(le) {
			edits = append(edits, Edit{at + f.serial, le})
		}
	}
	return edits, nil
}
