package handoff

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What of the System V ABI, chapters 4 and 5, tells whether a kernel starts a
// program. The library's reader would bring DWARF and zlib into PID 1.
const (
	elfExec, elfDyn = 2, 3 // e_type
	ptInterp        = 3
	maxHeaders      = 256
	maxInterpreter  = 4096 // PATH_MAX
)

// machines are the values of e_machine that a kernel of an architecture runs.
var machines = map[string][]uint16{
	"amd64": {62, 3},   // EM_X86_64, EM_386
	"arm64": {183, 40}, // EM_AARCH64, EM_ARM
}

var errCutELF = errors.New("the program file is cut short")

// checkELF checks that r is a program for arch and returns the path of its
// interpreter, the dynamic linker; empty when it is static.
func checkELF(r io.ReaderAt, arch string) (interpreter string, err error) {
	head := make([]byte, 64)
	if _, err := r.ReadAt(head, 0); err != nil || string(head[:4]) != "\x7fELF" {
		return "", errors.New("neither an ELF program nor a script")
	}
	if head[5] != 1 {
		return "", errors.New("a program for big-endian machines")
	}
	le := binary.LittleEndian
	if t := le.Uint16(head[16:]); t != elfExec && t != elfDyn {
		return "", fmt.Errorf("an ELF file of type %d, not a program", t)
	}
	if !runs(arch, le.Uint16(head[18:])) {
		return "", fmt.Errorf("a program for another machine (ELF machine %d) than this %s", le.Uint16(head[18:]), arch)
	}
	var table int64
	var size, count, offAt int
	switch head[4] {
	case 1:
		table, size, count, offAt = int64(le.Uint32(head[28:])), int(le.Uint16(head[42:])), int(le.Uint16(head[44:])), 4
	case 2:
		table, size, count, offAt = int64(le.Uint64(head[32:])), int(le.Uint16(head[54:])), int(le.Uint16(head[56:])), 8
	default:
		return "", fmt.Errorf("ELF class %d", head[4])
	}
	if size < 32 || count > maxHeaders || table < 0 {
		return "", errors.New("damaged ELF program headers")
	}
	for i := range count {
		ph := make([]byte, 56)
		if _, err := r.ReadAt(ph[:min(size, 56)], table+int64(i*size)); err != nil {
			return "", errCutELF
		}
		if le.Uint32(ph) != ptInterp {
			continue
		}
		off, length := int64(le.Uint32(ph[4:])), int64(le.Uint32(ph[16:]))
		if offAt == 8 {
			off, length = int64(le.Uint64(ph[8:])), int64(le.Uint64(ph[32:]))
		}
		if off < 0 || length <= 1 || length > maxInterpreter {
			return "", errors.New("damaged ELF program headers")
		}
		name := make([]byte, length)
		if _, err := r.ReadAt(name, off); err != nil {
			return "", errCutELF
		}
		name, _, _ = bytes.Cut(name, []byte{0})
		return string(name), nil
	}
	return "", nil
}

func runs(arch string, machine uint16) bool {
	for _, m := range machines[arch] {
		if m == machine {
			return true
		}
	}
	return false
}
