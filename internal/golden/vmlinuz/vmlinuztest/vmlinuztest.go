// Package vmlinuztest makes heads of kernel files for tests.
package vmlinuztest

import "encoding/binary"

// BzImage is the head of an x86 kernel that tells a version, which begins with
// its release (Documentation/arch/x86/boot.rst). Nothing in it can be started.
func BzImage(version string) []byte {
	b := make([]byte, 4096)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
	b[0x236] = 1 // 64 bit
	copy(b[0x600:], version)
	return b
}
