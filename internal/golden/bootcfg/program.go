package bootcfg

import (
	"bytes"
	"io"
	"regexp"

	"github.com/gild-dev/gild/internal/golden/vmlinuz"
)

// programKind is what a program for UEFI firmware is.
type programKind int

const (
	isNothing programKind = iota // there is none
	isUnknown
	isShim
	isGRUB
	isSystemdBoot
	isUKI
	isKernel // which is its own boot loader
)

// program is a boot loader's file.
type program struct {
	kind     programKind
	name     string   // of one that is not read
	prefix   string   // of a GRUB, without its device
	embedded []string // UUID and prefix that a configuration within a GRUB searches
}

const maxProgram = 16 << 20 // bytes of a boot loader

var (
	prefixForm = regexp.MustCompile(`\x00(?:\([a-z0-9,-]*\))?(/[A-Za-z0-9_./-]*(?:grub2?|EFI/[a-z]+))\x00`)
	searchForm = regexp.MustCompile(`search\.fs_uuid ([0-9A-Fa-f-]{4,40})[^\x00]{0,200}?set prefix=\(\$root\)'?([A-Za-z0-9_./-]+)`)
)

// identify tells what a program is by the words that it holds.
func identify(v *Volume, name string) program {
	if !v.isFile(name) {
		return program{}
	}
	file, err := v.FS.Open(name)
	if err != nil {
		return program{}
	}
	defer file.Close()
	code, err := io.ReadAll(io.LimitReader(file, maxProgram))
	has := func(s string) bool { return bytes.Contains(code, []byte(s)) }
	switch {
	case err != nil:
		return program{kind: isUnknown}
	case has("LoaderInfo: systemd-boot"):
		return program{kind: isSystemdBoot}
	case hasSection(code, ".linux"):
		return program{kind: isUKI}
	case has("UEFI SHIM") || has("\nshim,"):
		return program{kind: isShim}
	case has("\ngrub,") || has("GRUB  version") || has("grub_") || has("GNU GRUB"):
		p := program{kind: isGRUB}
		if m := searchForm.FindSubmatch(code); m != nil {
			p.embedded = []string{string(m[1]), string(m[2])}
		} else if m := prefixForm.FindSubmatch(code); m != nil {
			p.prefix = string(m[1])
		}
		return p
	}
	if !bytes.HasPrefix(code, []byte("MZ")) {
		return program{} // which no firmware starts
	}
	if _, _, err := vmlinuz.Release(bytes.NewReader(code)); err == nil {
		return program{kind: isKernel}
	}
	p := program{kind: isUnknown}
	for _, name := range []string{"rEFInd", "Limine", "ZFSBootMenu", "iPXE", "OpenCore", "Clover", "U-Boot"} {
		if has(name) {
			p.name = name
			break
		}
	}
	return p
}
