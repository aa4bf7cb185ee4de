// Package be reads big-endian numbers out of the structures of a disk.
package be

import "encoding/binary"

// U16 is the number of 16 bits at b[off:].
func U16(b []byte, off int) uint16 { return binary.BigEndian.Uint16(b[off:]) }

// U32 is the number of 32 bits at b[off:].
func U32(b []byte, off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }

// U64 is the number of 64 bits at b[off:].
func U64(b []byte, off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
