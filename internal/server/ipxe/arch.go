package ipxe

import (
	"fmt"

	"github.com/insomniacslk/dhcp/iana"
)

// Arch is a client system architecture: DHCP option 93, RFC 4578 section 2.1,
// with the values that IANA has registered since ("Processor Architecture
// Types").
type Arch uint16

// The architectures that gild has boot files for.
const (
	BIOS         Arch = 0  // x86 BIOS
	EFIX64       Arch = 7  // UEFI x64, as nearly every firmware says it
	EFIBC        Arch = 9  // EFI byte code in RFC 4578; firmware in the field means UEFI x64
	EFIARM64     Arch = 11 // UEFI arm64
	EFIX64HTTP   Arch = 16 // UEFI HTTP boot, x64
	EFIARM64HTTP Arch = 19 // UEFI HTTP boot, arm64
	efiIA32      Arch = 6
	efiARM32     Arch = 10
	efiIA32HTTP  Arch = 15
	efiARM32HTTP Arch = 18
	biosHTTP     Arch = 20
	ubootARM32   Arch = 21
	ubootARM64   Arch = 22
	uboot32HTTP  Arch = 23
	uboot64HTTP  Arch = 24
)

// canonicalBIOS chains through the ROM's own UNDI driver, for the same reason
// as SNP on UEFI.
const canonicalBIOS = "undionly.kpxe"

// String gives the registered name and the number, the number also when there
// is no name.
func (a Arch) String() string {
	return fmt.Sprintf("%s (%d)", iana.Arch(a), uint16(a))
}

// HTTP reports whether firmware of this architecture loads its boot file by
// HTTP, not TFTP.
func (a Arch) HTTP() bool {
	return a == EFIX64HTTP || a == EFIARM64HTTP
}

// UnsupportedError says why an architecture gets no boot file.
type UnsupportedError struct {
	Arch Arch
	Why  string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("no boot file for client architecture %s: %s", e.Arch, e.Why)
}

// Candidates lists the network boot programs that suit an architecture, best
// first, by the canonical names that [Files] uses. An architecture that gild
// cannot boot is an [*UnsupportedError].
//
// The SNP build comes before the one with drivers of its own: it uses the
// firmware's driver, which is known to work on the NIC that was just booted
// from.
func Candidates(a Arch) ([]string, error) {
	switch a {
	case BIOS:
		return []string{canonicalBIOS}, nil
	case EFIX64, EFIBC, EFIX64HTTP:
		return []string{"snponly.efi", "ipxe.efi"}, nil
	case EFIARM64, EFIARM64HTTP:
		return []string{"snponly-arm64.efi", "ipxe-arm64.efi"}, nil
	case efiIA32, efiIA32HTTP:
		return nil, &UnsupportedError{a, "32-bit UEFI cannot start a 64-bit kernel; use the BIOS mode of this machine"}
	case efiARM32, efiARM32HTTP, ubootARM32, uboot32HTTP:
		return nil, &UnsupportedError{a, "32-bit ARM is not supported"}
	case ubootARM64, uboot64HTTP:
		return nil, &UnsupportedError{a, "U-Boot is supported through its UEFI loader only (architecture 11)"}
	case biosHTTP:
		return nil, &UnsupportedError{a, "BIOS firmware is booted by TFTP; disable HTTP boot on this machine"}
	}
	return nil, &UnsupportedError{a, "the firmware is of a kind that gild does not know"}
}
