package fat

import (
	"io/fs"
	"strings"
	"unicode/utf16"

	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// Attributes of a directory entry.
const (
	attrReadOnly = 0x01
	attrVolumeID = 0x08
	attrDir      = 0x10
	attrLongName = 0x0f
)

// lister collects a directory. A long name stands in front of the entry it
// belongs to, last piece first.
type lister struct {
	volume.Listing
	v     *Volume
	label string
	done  bool

	long     [20][13]uint16
	pieces   int // of the long name in front
	next     int // sequence number that must follow; 0 when the name is whole
	checksum byte
}

// List reads a directory.
func (v *Volume) List(n *volume.Node) ([]volume.Entry, uint64, error) {
	l := &lister{v: v}
	err := l.read(n)
	return l.Entries, l.Parent, err
}

func (l *lister) read(n *volume.Node) error {
	runs, err := l.v.runs(n)
	if err != nil {
		return err
	}
	// Sector by sector: the fixed root directory is no multiple of a cluster.
	c := &volume.Content{R: l.v.dev, Size: volume.MaxDirBytes, Runs: runs}
	return volume.EachBlock(c, 512, l.v.dev.Size, l.block)
}

func (l *lister) block(b []byte) error {
	for at := 0; at+32 <= len(b) && !l.done; at += 32 {
		if err := l.entry(b[at : at+32]); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) entry(e []byte) error {
	attr := e[11]
	switch {
	case e[0] == 0:
		l.done = true
		return nil
	case e[0] == 0xe5: // deleted
		l.pieces = 0
		return nil
	case attr&0x3f == attrLongName:
		l.piece(e)
		return nil
	case attr&attrVolumeID != 0:
		if l.label == "" {
			l.label = strings.TrimRight(volume.Label(e[:11]), " ")
		}
		l.pieces = 0
		return nil
	}
	first := uint32(le.U16(e, 20))<<16 | uint32(le.U16(e, 26))
	if l.v.bpb.width != 32 {
		first &= 0xffff
	}
	if string(e[:11]) == ".          " {
		return nil
	}
	if string(e[:11]) == "..         " {
		if first != l.v.bpb.rootAt { // the root is 0 by the specification, and its cluster by some writers
			l.Parent = uint64(first)
		}
		return nil
	}
	name := l.name(e)
	n := &volume.Node{
		ID: uint64(first), Mode: 0o644, Size: int64(le.U32(e, 28)),
		Time: timeOf(le.U16(e, 24), le.U16(e, 22)), Raw: file{first: first},
	}
	if attr&attrReadOnly != 0 {
		n.Mode = 0o444
	}
	if attr&attrDir != 0 {
		n.Mode, n.Size = fs.ModeDir|0o755, 0
	}
	return l.Add(volume.Entry{Name: name, ID: n.ID, Node: n})
}

// piece takes 13 UTF-16 units of a long name. A piece out of order drops what
// was collected.
func (l *lister) piece(e []byte) {
	number := int(e[0] & 0x3f)
	if number == 0 || number > len(l.long) {
		l.pieces = 0
		return
	}
	switch {
	case e[0]&0x40 != 0:
		l.pieces, l.checksum = number, e[13]
	case l.pieces == 0 || number != l.next || e[13] != l.checksum:
		l.pieces = 0
		return
	}
	unit := &l.long[number-1]
	for i := range 13 {
		at := 1 + 2*i
		if i >= 5 {
			at = 14 + 2*(i-5)
		}
		if i >= 11 {
			at = 28 + 2*(i-11)
		}
		unit[i] = le.U16(e, at)
	}
	l.next = number - 1
}

// Name gives the long name that stood in front, if it belongs to this entry,
// else the short one.
func (l *lister) name(e []byte) string {
	pieces := l.pieces
	l.pieces = 0
	var sum byte
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if pieces == 0 || l.next != 0 || sum != l.checksum {
		return shortName(e)
	}
	units := make([]uint16, 0, 13*pieces)
	for i := range pieces {
		units = append(units, l.long[i][:]...)
	}
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// shortName joins base and extension. Windows and Linux mark names in lower
// case by two bits.
func shortName(e []byte) string {
	raw := append([]byte(nil), e[:11]...)
	if raw[0] == 0x05 { // stands for 0xe5, which means deleted
		raw[0] = 0xe5
	}
	base := strings.TrimRight(oemName(raw[:8]), " ")
	ext := strings.TrimRight(oemName(raw[8:]), " ")
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}
