// Package kmodtest makes kernel modules that exist only for tests: ELF objects
// with just the sections that depmod, modprobe or modinfo read.
package kmodtest

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// Module describes one module.
type Module struct {
	Info    []string // records of .modinfo: "alias=pci:v*", "name=e1000"
	Exports []string // symbols that others may need
	Needs   []string // symbols exported by others: depmod makes dependencies of them
}

// section is one ELF section; link and entry matter for the symbol table only.
type section struct {
	name        string
	kind        uint32
	data        []byte
	link, entry uint64
}

// ELF returns the module as a relocatable 64-bit little-endian object for
// x86-64.
func (m Module) ELF() []byte {
	const progbits, symtab, strtab, symbolSize = 1, 2, 3, 24
	var info, exports, names bytes.Buffer
	for _, record := range m.Info {
		info.WriteString(record + "\x00")
	}
	for _, name := range m.Exports {
		exports.WriteString(name + "\x00")
	}
	symbols := make([]byte, symbolSize) // the null symbol
	names.WriteByte(0)
	for _, name := range m.Needs {
		symbol := make([]byte, symbolSize) // section index 0: undefined
		binary.LittleEndian.PutUint32(symbol, uint32(names.Len()))
		symbol[4] = 1 << 4 // STB_GLOBAL
		symbols = append(symbols, symbol...)
		names.WriteString(name + "\x00")
	}
	return assemble([]section{
		{},
		{name: ".modinfo", kind: progbits, data: info.Bytes()},
		{name: "__ksymtab_strings", kind: progbits, data: exports.Bytes()},
		{name: ".symtab", kind: symtab, data: symbols, link: 4, entry: symbolSize},
		{name: ".strtab", kind: strtab, data: names.Bytes()},
		{name: ".shstrtab", kind: strtab},
	})
}

// assemble lays out the file header, the contents and the section headers; the
// last section is the names of all.
func assemble(sections []section) []byte {
	le := binary.LittleEndian
	var names bytes.Buffer
	at := make([]uint32, len(sections))
	for i, s := range sections {
		at[i] = uint32(names.Len())
		names.WriteString(s.name + "\x00")
	}
	sections[len(sections)-1].data = names.Bytes()

	file := make([]byte, 64)
	var table []byte
	for i, s := range sections {
		h := make([]byte, 64)
		le.PutUint32(h[0:], at[i])
		le.PutUint32(h[4:], s.kind)
		le.PutUint64(h[24:], uint64(len(file)))
		le.PutUint64(h[32:], uint64(len(s.data)))
		le.PutUint32(h[40:], uint32(s.link))
		le.PutUint64(h[48:], 8)
		le.PutUint64(h[56:], s.entry)
		table = append(table, h...)
		file = append(file, s.data...)
		file = append(file, make([]byte, -len(file)&7)...)
	}
	copy(file, "\x7fELF\x02\x01\x01")
	le.PutUint16(file[16:], 1)  // ET_REL
	le.PutUint16(file[18:], 62) // EM_X86_64
	le.PutUint32(file[20:], 1)
	le.PutUint64(file[40:], uint64(len(file)))
	le.PutUint16(file[52:], 64)
	le.PutUint16(file[58:], 64)
	le.PutUint16(file[60:], uint16(len(sections)))
	le.PutUint16(file[62:], uint16(len(sections)-1))
	return append(file, table...)
}

// WriteTree writes files below dir, making the folders they need.
func WriteTree(tb testing.TB, dir string, files map[string][]byte) {
	tb.Helper()
	for name, data := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

// Kernel finds a distribution's real modules: a root folder in which
// lib/modules/release holds depmod's files. It looks at every root below
// $GILD_TEST_CACHE/kernels (a kernel package unpacked with `dpkg-deb -x`, then
// `depmod -b`), then at this machine's own; without any the test is skipped.
func Kernel(tb testing.TB) (root, release string) {
	tb.Helper()
	patterns := []string{"/lib/modules/*/modules.dep"}
	if cache := os.Getenv("GILD_TEST_CACHE"); cache != "" {
		patterns = append([]string{filepath.Join(cache, "kernels/*/lib/modules/*/modules.dep")}, patterns...)
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		for _, file := range found {
			dir := filepath.Dir(file)
			if _, err := os.Stat(filepath.Join(dir, "kernel/drivers/net")); err == nil {
				return filepath.Join(dir, "../../.."), filepath.Base(dir)
			}
		}
	}
	tb.Skip("no kernel modules here: set GILD_TEST_CACHE to a folder with kernels/NAME/lib/modules/RELEASE")
	return "", ""
}
