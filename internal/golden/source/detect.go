package source

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/golden/lz4"
	"github.com/gild-dev/gild/internal/golden/source/qcow2"
	"github.com/gild-dev/gild/internal/golden/source/virtual"
)

// format is what a source turns out to be by its first bytes.
type format string

const (
	formatRaw   format = "raw"
	formatQcow2 format = "qcow2"
	formatGzip  format = "gzip"
	formatBzip2 format = "bzip2"
	formatXZ    format = "xz"
	formatZstd  format = "zstd"
	formatLZ4   format = "lz4"

	formatTar format = "tar"
	formatZip format = "zip"

	formatVMDK format = "vmdk"
	formatVHD  format = "vhd"
	formatVHDX format = "vhdx"
	formatVDI  format = "vdi"

	formatExtents format = "vmdk extents" // a descriptor with the files beside it
)

// compressed is a layer around anything but another of its kind.
func (f format) compressed() bool {
	return slices.Contains([]format{formatGzip, formatBzip2, formatXZ, formatZstd, formatLZ4}, f)
}

// archive is a layer around a disk, itself perhaps compressed.
func (f format) archive() bool { return f == formatTar || f == formatZip }

// image is a disk that has to be read at any place.
func (f format) image() bool {
	return slices.Contains([]format{formatQcow2, formatVMDK, formatVHD, formatVHDX, formatVDI, formatExtents}, f)
}

// headSize is how many bytes [detect] wants: up to the ISO 9660 volume
// descriptor behind 16 sectors of 2 KiB.
const headSize = isoOffset + len(isoMagic)

const (
	isoOffset = 16*2048 + 1
	isoMagic  = "CD001"

	// textSize is how much of a source has to be text for it to be a text file.
	// A disk has a boot sector or NUL bytes there.
	textSize = 1024
)

const (
	hintConvert  = "convert it first: qemu-img convert -O raw IMAGE disk.raw"
	hintUnpack   = "unpack it first and give the disk image inside"
	hintCompress = "decompress it first, or compress with zstd, xz, gzip, lz4 or bzip2"
)

// accepted and refused are the magic bytes of the formats that one meets where
// a disk image is expected.
var accepted = []struct {
	magic  string
	format format
}{
	{qcow2.Magic, formatQcow2},
	{"\x1f\x8b\x08", formatGzip},
	{"BZh1", formatBzip2},
	{"BZh2", formatBzip2},
	{"BZh3", formatBzip2},
	{"BZh4", formatBzip2},
	{"BZh5", formatBzip2},
	{"BZh6", formatBzip2},
	{"BZh7", formatBzip2},
	{"BZh8", formatBzip2},
	{"BZh9", formatBzip2},
	{"\xfd7zXZ\x00", formatXZ},
	{"\x28\xb5\x2f\xfd", formatZstd},
	{lz4.Magic, formatLZ4},
	{zipLocal, formatZip},
	{"KDMV", formatVMDK},
	{virtual.VMDKDescriptor, formatExtents},
	{vhdMagic, formatVHD},
	{"vhdxfile", formatVHDX},
}

var refused = []struct {
	offset      int
	magic       string
	what, remed string
}{
	{0, "COWD", "a VMDK image", hintConvert},
	{0, "QED\x00", "a QED image", hintConvert},
	{0, "WithoutFreeSpace", "a Parallels image", hintConvert},
	{0, "WithouFreSpacExt", "a Parallels image", hintConvert},
	{0, "LUKS\xba\xbe", "an encrypted LUKS container", "give the decrypted disk"},
	{0, "\x3a\xff\x26\xed", "an Android sparse image", "convert it first: simg2img IMAGE disk.raw"},
	{0, "MSWIM\x00", "a Windows WIM archive", hintUnpack},
	{0, "hsqs", "a squashfs file system", "give a complete disk image"},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z archive", hintUnpack},
	{0, "Rar!\x1a\x07", "a RAR archive", hintUnpack},
	{0, "070701", "a cpio archive", hintUnpack},
	{0, "!<arch>\n", "an ar archive or Debian package", "give a complete disk image"},
	{0, "\xed\xab\xee\xdb", "an RPM package", "give a complete disk image"},
	{0, "\x7fELF", "an ELF program", "give a complete disk image"},
	{0, "LZIP", "an lzip file", hintCompress},
	{0, "\x89LZO", "an lzop file", hintCompress},
	{0, lz4.LegacyMagic, "an lz4 file of the old format", hintCompress},
	{0, "\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff", "an lzma file", hintCompress},
}

// tarMagic stands in the header of the first file, POSIX's and GNU's.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// vhdMagic begins a dynamic VHD, and the last sector of a fixed one.
const vhdMagic = "conectix"

var errFixedVHD = errors.New("it ends as a fixed VHD image does, and has another size: " + hintConvert)

// detect tells the format of a source from its first headSize bytes; fewer
// only when the source is shorter.
func detect(head []byte) (format, error) {
	if len(head) == 0 {
		return "", errors.New("it is empty")
	}
	for _, a := range accepted {
		if bytes.HasPrefix(head, []byte(a.magic)) {
			return a.format, nil
		}
	}
	if isSkippableFrame(head) {
		return formatZstd, nil
	}
	if at := virtual.VDIMagicAt; len(head) > at && bytes.HasPrefix(head[at:], []byte(virtual.VDIMagic)) {
		return formatVDI, nil
	}
	if len(head) >= tarMagicAt+len(tarMagic) && string(head[tarMagicAt:tarMagicAt+len(tarMagic)]) == tarMagic {
		return formatTar, nil
	}
	for _, r := range refused {
		if len(head) >= r.offset && bytes.HasPrefix(head[r.offset:], []byte(r.magic)) {
			return "", fmt.Errorf("this is %s, not a disk: %s", r.what, r.remed)
		}
	}
	if isPlainISO(head) {
		return "",
			errors.New("this is an ISO 9660 image without a partition table, it cannot boot from a disk: give the image of an installed disk")
	}
	if start, ok := textStart(head); ok {
		return "", fmt.Errorf("this looks like a text file (starts with %q): give a disk image", start)
	}
	return formatRaw, nil
}

// isPlainISO leaves hybrid images alone: they carry an MBR and are disks.
func isPlainISO(head []byte) bool {
	return len(head) >= headSize && string(head[isoOffset:headSize]) == isoMagic &&
		(head[510] != 0x55 || head[511] != 0xaa)
}

// textStart returns the beginning of a text file, or false. Text is valid
// UTF-8 without control characters; text in old 8-bit encodings is left to
// the check of the size.
func textStart(head []byte) (string, bool) {
	text := head[:min(len(head), textSize)]
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			if i > 0 && !utf8.FullRune(text[i:]) && len(text) == textSize {
				break // a character cut by the end of the sample
			}
			return "", false
		}
		if unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' && r != '\f' {
			return "", false
		}
		i += size
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return string(line[:min(len(line), 40)]), true
}
