package blockdev

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/gild-dev/gild/internal/disk/partition"
)

// Content is what is on a disk, as far as its bytes tell: nothing is mounted or
// assembled for it. Texts are foreign; they are free of control characters and
// bounded.
type Content struct {
	// TableID is the GPT disk GUID or MBR signature; empty without a table.
	TableID    string
	Partitions []Part
	// Unsealed says that LBA 0 is zero and a GPT is behind it all the same: a flash
	// that did not come to its end.
	Unsealed bool
	// Damaged says why the partition table cannot be read; empty: it can, or there
	// is none.
	Damaged string
	// FileSystem and Label are of a file system on the whole disk, where there is
	// no table.
	FileSystem, Label string
	// Claims are codes of storage software that has the disk or a partition of it
	// for a part of something larger, or of unreadable data: "lvm", "md", "zfs",
	// "luks", "ceph", "cluster", "bcache". A claim within a partition counts as the
	// partition's.
	Claims []string
}

// Part is one partition with what is in it.
type Part struct {
	partition.Partition
	FileSystem, Label string
	Claims            []string
}

// Bounds of what is looked at: 128 partitions are what every tool makes at
// most.
const maxProbed = 128

// ReadContent looks at a disk of size bytes with logical sectors of sector
// bytes. It reads at most about 2 MiB of the disk and of each of the first 128
// partitions. What cannot be read counts as absent, but for the table.
func ReadContent(r io.ReaderAt, size int64, sector int) Content {
	var c Content
	t, err := partition.Read(r, size, sector)
	if err != nil {
		c.Damaged = clean(err.Error())
		t = &partition.Table{Scheme: partition.None}
	}
	whole := prober{r, size}
	if t.Scheme == partition.None && c.Damaged == "" {
		c.FileSystem, c.Label = whole.fileSystem()
		// What an interrupted flash left is found behind the gate that it closed.
		if behind, err := partition.ReadBehind(r, size, sector); err == nil && c.FileSystem == "" {
			t = behind
			c.Unsealed = zeroSector(whole.at(0, sector))
		}
	}
	c.TableID = t.DiskID
	for i, p := range t.Partitions {
		part := Part{Partition: p}
		part.Name = clean(p.Name)
		if i < maxProbed && p.TypeName != "extended" {
			part.probe(io.NewSectionReader(r, p.Start, p.Size), p.Size)
		}
		c.Partitions = append(c.Partitions, part)
		c.add(part.Claims...)
	}
	for _, m := range whole.claims() {
		if !within(t.Partitions, m.at) {
			c.add(m.code)
		}
	}
	return c
}

func (c *Content) add(claims ...string) {
	for _, s := range claims {
		if !slices.Contains(c.Claims, s) {
			c.Claims = append(c.Claims, s)
		}
	}
}

func (p *Part) probe(r io.ReaderAt, size int64) {
	in := prober{r, size}
	p.FileSystem, p.Label = in.fileSystem()
	for _, m := range in.claims() {
		if !slices.Contains(p.Claims, m.code) {
			p.Claims = append(p.Claims, m.code)
		}
	}
	if cephType(p.Type) && !slices.Contains(p.Claims, "ceph") {
		p.Claims = append(p.Claims, "ceph")
	}
}

// within tells a mark of a partition's content from one of the whole disk: the
// end of a disk is often also the end of its last partition.
func within(parts []partition.Partition, at int64) bool {
	return slices.ContainsFunc(parts, func(p partition.Partition) bool {
		return p.TypeName != "extended" && at >= p.Start && at < p.End()
	})
}

func zeroSector(b []byte) bool { return b != nil && len(bytes.Trim(b, "\x00")) == 0 }

// fileSystem gives the file system that begins at the prober's first byte, and
// its label.
func (p prober) fileSystem() (name, label string) {
	if name = p.ext(); name != "" {
		return name, fixed(p.at(1024+120, 16))
	}
	for _, m := range magics {
		if m.code != "" || m.offset < 0 || !p.has(m) {
			continue
		}
		switch m.name {
		case "xfs":
			label = fixed(p.at(108, 12))
		case "btrfs":
			label = fixed(p.at(64<<10+0x12b, 256))
		case "swap":
			label = fixed(p.at(1024+28, 16))
		case "iso9660":
			label = strings.TrimRight(fixed(p.at(32<<10+40, 32)), " ")
		case "f2fs":
			label = wide(p.at(1024+0x7c, 128))
		}
		return m.name, label
	}
	if name = p.fat(); name != "" {
		at := int64(43)
		if b := p.at(82, 5); string(b) == "FAT32" {
			at = 71
		}
		if label = strings.TrimRight(fixed(p.at(at, 11)), " "); label == "NO NAME" {
			label = ""
		}
	}
	return name, label
}

// fixed reads a text that a NUL ends where it does not fill its field.
func fixed(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return clean(string(b))
}

func wide(b []byte) string {
	var u []uint16
	for ; len(b) > 1; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return clean(string(utf16.Decode(u)))
}
