package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// firmwareFiles are the two flash chips of a UEFI machine; both empty for BIOS.
type firmwareFiles struct {
	code string // read-only, shared
	vars string // this machine's own copy
}

// ovmf lists where distributions keep OVMF without Secure Boot keys: code, then
// its variable template. The two must come from one build, because the variable
// store's size is part of the code.
func ovmf() []firmwareFiles {
	return []firmwareFiles{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},                   // Debian, Ubuntu
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},                         // older Debian, Ubuntu
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},               // Fedora
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},           // Arch
		{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},         // openSUSE
		{"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"},             // QEMU's own build
		{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"}, // QEMU from source
	}
}

// prepare picks the firmware and gives the machine a variable store: vars when
// named (kept from boot to boot), else one in dir.
func (f Firmware) prepare(candidates []firmwareFiles, vars, dir string) (firmwareFiles, error) {
	switch f {
	case "", BIOS:
		return firmwareFiles{}, nil
	case UEFI:
	default:
		return firmwareFiles{}, fmt.Errorf("firmware %q: want %q or %q", f, BIOS, UEFI)
	}
	for _, c := range candidates {
		if !isFile(c.code) || !isFile(c.vars) {
			continue
		}
		if vars == "" {
			vars = filepath.Join(dir, "vars.fd")
		}
		if err := copyNew(vars, c.vars); err != nil {
			return firmwareFiles{}, fmt.Errorf("make UEFI variable store: %w", err)
		}
		return firmwareFiles{code: c.code, vars: vars}, nil
	}
	return firmwareFiles{}, errors.New("no UEFI firmware for virtual machines found: on Debian, apt install ovmf")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// copyNew copies src to dst unless dst exists.
func copyNew(dst, src string) error {
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	in, err := os.Open(src)
	if err != nil {
		out.Close()
		return errors.Join(err, os.Remove(dst))
	}
	defer in.Close()
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(dst)) // half a store would be taken for a whole one next time
	}
	return nil
}
