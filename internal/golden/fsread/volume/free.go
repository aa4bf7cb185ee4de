package volume

import "hash/crc32"

// FreeMap is a volume that knows its free space.
type FreeMap interface {
	// Free gives emit the free ranges, in bytes, in order until it returns false.
	Free(emit func(start, length int64) bool) error
}

// Castagnoli is the update step of crc32c without the inversions that
// hash/crc32 adds at both ends: ext4 feeds the sum of one piece to the next
// like this.
func Castagnoli(sum uint32, p []byte) uint32 {
	return ^crc32.Update(^sum, crc32.MakeTable(crc32.Castagnoli), p)
}
