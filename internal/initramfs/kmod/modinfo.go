package kmod

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Info is what a module says of itself in its .modinfo section.
type Info struct {
	Name     string   // canonical; empty in modules from before Linux 4.16
	Aliases  []string // patterns, see [Match]
	Depends  []string // direct needs, canonical names
	Firmware []string // files below lib/firmware that the driver may ask for
	Softdeps Softdep
	Vermagic string // release and build options that the kernel compares: "6.1.0-44-amd64 SMP ..."
}

// ModInfo reads the .modinfo section of an uncompressed module: a little-endian
// ELF file of 32 or 64 bits. Only headers and that one section are looked at,
// every offset checked against the file's size.
func ModInfo(elf []byte) (Info, error) {
	section, err := elfSection(elf, ".modinfo")
	if err != nil {
		return Info{}, fmt.Errorf("read module: %w", err)
	}
	var info Info
	for record := range strings.SplitSeq(string(section), "\x00") {
		key, value, _ := strings.Cut(record, "=")
		switch key {
		case "name":
			info.Name = CanonicalName(value)
		case "alias":
			info.Aliases = append(info.Aliases, value)
		case "depends":
			for need := range strings.SplitSeq(value, ",") {
				if need = strings.TrimSpace(need); need != "" {
					info.Depends = append(info.Depends, CanonicalName(need))
				}
			}
		case "firmware":
			info.Firmware = append(info.Firmware, value)
		case "softdep":
			pre, post := softdepWords(value)
			info.Softdeps.Pre = append(info.Softdeps.Pre, pre...)
			info.Softdeps.Post = append(info.Softdeps.Post, post...)
		case "vermagic":
			info.Vermagic = value
		}
	}
	info.Softdeps.Module = info.Name
	return info, nil
}

// errTruncated is wrapped by whatever part of the file an offset points outside
// of.
var errTruncated = errors.New("ELF file is truncated or its offsets are wrong")

// elfLayout says where the fields that matter lie in the two ELF classes
// (System V ABI, chapter 4).
type elfLayout struct {
	header               int // bytes of the file header
	shoff, shnum         int // in the file header; shentsize lies before shnum, shstrndx behind
	section              int // bytes of a section header
	sectionOff, wordSize int // where a section header has sh_offset; bytes of an address
}

// elfSection returns the bytes of the first section with that name. debug/elf
// would do, but it pulls compression and DWARF readers into the machine's
// program.
func elfSection(elf []byte, name string) ([]byte, error) {
	if len(elf) < 16 || string(elf[:4]) != "\x7fELF" {
		return nil, errors.New("not an ELF file")
	}
	var l elfLayout
	switch class := elf[4]; class {
	case 1:
		l = elfLayout{header: 52, shoff: 32, shnum: 48, section: 40, sectionOff: 16, wordSize: 4}
	case 2:
		l = elfLayout{header: 64, shoff: 40, shnum: 60, section: 64, sectionOff: 24, wordSize: 8}
	default:
		return nil, fmt.Errorf("unknown ELF class %d", class)
	}
	if elf[5] != 1 {
		return nil, errors.New("not a little-endian ELF file")
	}
	if len(elf) < l.header {
		return nil, errTruncated
	}
	le := binary.LittleEndian
	if size := le.Uint16(elf[l.shnum-2:]); int(size) != l.section {
		return nil, fmt.Errorf("section headers of %d bytes instead of %d", size, l.section)
	}
	count, names := uint64(le.Uint16(elf[l.shnum:])), uint64(le.Uint16(elf[l.shnum+2:]))
	table, err := window(elf, l.word(elf[l.shoff:]), count*uint64(l.section))
	if err != nil {
		return nil, err
	}
	if names >= count {
		return nil, errTruncated
	}
	strtab, err := l.content(elf, table[names*uint64(l.section):])
	if err != nil {
		return nil, err
	}
	for ; len(table) > 0; table = table[l.section:] {
		at := le.Uint32(table)
		if uint64(at) < uint64(len(strtab)) && hasCString(strtab[at:], name) {
			return l.content(elf, table)
		}
	}
	return nil, fmt.Errorf("no %s section", name)
}

// word reads an address-sized number.
func (l elfLayout) word(b []byte) uint64 {
	if l.wordSize == 4 {
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// content returns the bytes that a section header describes: sh_offset, and
// sh_size behind it.
func (l elfLayout) content(elf, section []byte) ([]byte, error) {
	return window(elf, l.word(section[l.sectionOff:]), l.word(section[l.sectionOff+l.wordSize:]))
}

// window returns size bytes of b from off; both are foreign and may be
// anything.
func window(b []byte, off, size uint64) ([]byte, error) {
	if off > uint64(len(b)) || size > uint64(len(b))-off {
		return nil, errTruncated
	}
	return b[off : off+size], nil
}

func hasCString(b []byte, s string) bool {
	return len(b) > len(s) && b[len(s)] == 0 && bytes.HasPrefix(b, []byte(s))
}
