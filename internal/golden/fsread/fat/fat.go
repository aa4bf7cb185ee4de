// Package fat reads the FAT family: FAT12, FAT16, FAT32.
package fat

import (
	"fmt"
	"io/fs"
	"math/bits"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// Volume reads FAT12, FAT16 and FAT32.
type Volume struct {
	dev       *volume.Device
	bpb       bpb
	dirty     bool
	rootLabel string
}

// bpb is the geometry out of the boot sector; all in bytes but for the counts.
type bpb struct {
	width    int // bits of an entry of the table: 12, 16, 32
	cluster  int64
	fat      int64 // where the first table begins
	fatSize  int64
	root     int64 // FAT12 and FAT16: where the root directory is
	rootSize int64
	rootAt   uint32 // FAT32: its first cluster
	data     int64
	clusters uint32
	serial   uint32
	state    byte
}

// parseBPB takes what Microsoft's specification makes mandatory.
func parseBPB(b []byte, size int64) (bpb, error) {
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
		return bpb{}, volume.Corrupt("no boot sector")
	}
	sector, perCluster, tables := int64(le.U16(b, 11)), int64(b[13]), int64(b[16])
	reserved, rootEntries := int64(le.U16(b, 14)), int64(le.U16(b, 17))
	total, table := int64(le.U16(b, 19)), int64(le.U16(b, 22))
	if total == 0 {
		total = int64(le.U32(b, 32))
	}
	if table == 0 {
		table = int64(le.U32(b, 36))
	}
	switch {
	case sector < 512 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1,
		bits.OnesCount64(uint64(perCluster)) != 1, reserved == 0, tables == 0 || tables > 4, table == 0,
		b[21] != 0xf0 && b[21] < 0xf8:
		return bpb{}, volume.Corrupt("boot sector without FAT geometry")
	case total*sector > size:
		return bpb{}, volume.Corrupt("%d sectors of %d bytes on a partition of %d bytes: image cut short?", total, sector, size)
	}
	p := bpb{cluster: sector * perCluster, fat: reserved * sector, fatSize: table * sector, rootSize: 32 * rootEntries}
	p.root = p.fat + tables*p.fatSize
	p.data = p.root + (p.rootSize+sector-1)/sector*sector
	if p.data >= total*sector {
		return bpb{}, volume.Corrupt("no room for data")
	}
	p.clusters = uint32(min((total*sector-p.data)/p.cluster, 1<<28))
	extended := 36
	switch {
	// only FAT32 keeps the size of the table elsewhere; small ones exist against
	// the rule
	case le.U16(b, 22) == 0:
		p.width, extended = 32, 64
		p.rootAt = le.U32(b, 44)
	case p.clusters < 4085:
		p.width = 12
	default:
		p.width = 16
	}
	p.state = b[extended+1]
	if b[extended+2] == 0x28 || b[extended+2] == 0x29 {
		p.serial = le.U32(b, extended+3)
	}
	// A table of fewer entries than there are clusters bounds them; the first two
	// entries are not clusters.
	entries := p.fatSize * 8 / int64(p.width)
	if entries <= 2 {
		return bpb{}, volume.Corrupt("empty allocation table")
	}
	p.clusters = uint32(min(int64(p.clusters), entries-2))
	return p, nil
}

// Claims reports that the first sector of a partition of size bytes describes a
// FAT volume that fits into it.
func Claims(head []byte, size int64) bool {
	_, err := parseBPB(head, size)
	return err == nil
}

// Open reads the boot sector. The error wraps [volume.ErrCorrupt], or is a
// [*volume.UnsupportedError], where the device itself is well.
func Open(dev *volume.Device) (*Volume, error) {
	b := make([]byte, min(512, dev.Size))
	if _, err := dev.ReadAt(b, 0); err != nil {
		return nil, err
	}
	bpb, err := parseBPB(b, dev.Size)
	if err != nil {
		return nil, err
	}
	v := &Volume{dev: dev, bpb: bpb, dirty: bpb.state&1 != 0}
	root, err := v.Root()
	if err != nil {
		return nil, err
	}
	l := &lister{v: v}
	if err := l.read(root); err != nil {
		return nil, err
	}
	v.rootLabel = l.label
	return v, nil
}

// Serial is the volume's number in the form that takes the place of a UUID.
func (v *Volume) Serial() string {
	if v.bpb.serial == 0 {
		return ""
	}
	return fmt.Sprintf("%04X-%04X", v.bpb.serial>>16, v.bpb.serial&0xffff)
}

// Label is the volume label out of the root directory.
func (v *Volume) Label() string { return v.rootLabel }

// file is where a file begins: 0 for an empty file and for the fixed root
// directory of FAT12 and FAT16.
type file struct {
	first uint32
	fixed bool
}

// Root is the root directory.
func (v *Volume) Root() (*volume.Node, error) {
	if v.bpb.width == 32 {
		if v.bpb.rootAt < 2 || v.bpb.rootAt-2 >= v.bpb.clusters {
			return nil, volume.Corrupt("root directory at cluster %d", v.bpb.rootAt)
		}
		return &volume.Node{Mode: fs.ModeDir | 0o755, Raw: file{first: v.bpb.rootAt}}, nil
	}
	return &volume.Node{Mode: fs.ModeDir | 0o755, Raw: file{fixed: true}}, nil
}

// FoldsCase is true: FAT has no case.
func (v *Volume) FoldsCase() bool { return true }

// Dirty reports that the volume was not cleanly unmounted.
func (v *Volume) Dirty() bool { return v.dirty }

// Load gives the inode, which FAT keeps in the directory entry.
func (v *Volume) Load(e volume.Entry) (*volume.Node, error) {
	if e.Node.Mode.IsDir() && e.Node.ID == 0 {
		return nil, volume.Corrupt("directory %q without a cluster", e.Name)
	}
	return e.Node, nil
}

// ReadLink fails: FAT has no symbolic links.
func (v *Volume) ReadLink(*volume.Node) (string, error) { return "", fs.ErrInvalid }

// Content maps the body of a file.
func (v *Volume) Content(n *volume.Node) (*volume.Content, error) {
	runs, err := v.runs(n)
	if err != nil {
		return nil, err
	}
	c := &volume.Content{R: v.dev, Size: n.Size, Runs: runs}
	var mapped int64
	if len(runs) > 0 {
		last := runs[len(runs)-1]
		mapped = last.Off + last.Length
	}
	if n.Mode.IsRegular() && mapped < n.Size {
		return nil, volume.Corrupt("cluster chain ends at %d of %d bytes", mapped, n.Size)
	}
	return c, nil
}

// Runs follows the chain of clusters. It has at most as many links as the
// volume has clusters, and a file needs no more than its size.
func (v *Volume) runs(n *volume.Node) ([]volume.Run, error) {
	f := n.Raw.(file)
	list := volume.RunList{Device: v.dev.Size}
	if f.fixed {
		if v.bpb.rootSize == 0 {
			return nil, nil
		}
		err := list.Add(0, v.bpb.root, v.bpb.rootSize)
		return list.Runs, err
	}
	if f.first == 0 {
		return nil, nil
	}
	off := int64(0)
	for cluster, steps := f.first, uint32(0); ; steps++ {
		if steps >= v.bpb.clusters {
			return nil, volume.Corrupt("cluster chain is a loop")
		}
		if cluster < 2 || cluster-2 >= v.bpb.clusters {
			return nil, volume.Corrupt("cluster %d of %d", cluster, v.bpb.clusters)
		}
		if err := list.Add(off, v.bpb.data+int64(cluster-2)*v.bpb.cluster, v.bpb.cluster); err != nil {
			return nil, err
		}
		off += v.bpb.cluster
		if n.Mode.IsRegular() && off >= n.Size || n.Mode.IsDir() && off >= volume.MaxDirBytes {
			return list.Runs, nil
		}
		next, err := v.next(cluster)
		if err != nil || next == 0 {
			return list.Runs, err
		}
		cluster = next
	}
}

// next looks the follower of a cluster up; 0 is the end of the chain.
func (v *Volume) next(cluster uint32) (uint32, error) {
	var b [4]byte
	switch v.bpb.width {
	case 12: // two entries share three bytes
		if _, err := v.dev.ReadAt(b[:2], v.bpb.fat+int64(cluster)*3/2); err != nil {
			return 0, err
		}
		entry := uint32(le.U16(b[:], 0)) >> (4 * (cluster & 1)) & 0xfff
		return chainEnd(entry, 0xff8), nil
	case 16:
		if _, err := v.dev.ReadAt(b[:2], v.bpb.fat+int64(cluster)*2); err != nil {
			return 0, err
		}
		return chainEnd(uint32(le.U16(b[:], 0)), 0xfff8), nil
	}
	if _, err := v.dev.ReadAt(b[:], v.bpb.fat+int64(cluster)*4); err != nil {
		return 0, err
	}
	return chainEnd(le.U32(b[:], 0)&0x0fffffff, 0x0ffffff8), nil
}

// chainEnd maps the marks for the end to 0, and 0, which is a free cluster and
// has no place in a chain, to a number that is out of range everywhere.
func chainEnd(entry, end uint32) uint32 {
	switch {
	case entry >= end:
		return 0
	case entry == 0:
		return 1
	}
	return entry
}

// timeOf reads the date and time of an entry, which are in the zone of whoever
// wrote them; UTC is assumed.
func timeOf(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), 2*int(clock&31), 0, time.UTC)
}

// oemName decodes a short name, which holds code page 437.
func oemName(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune([]rune(codePage437)[c-0x80])
		}
	}
	return s.String()
}

const codePage437 = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
	"└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"

var _ volume.Volume = (*Volume)(nil)
