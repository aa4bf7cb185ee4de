package partition

import (
	"encoding/binary"
	"hash/crc32"
)

// rawEntry is an entry of a GPT that a test builds by hand, right or wrong.
type rawEntry struct {
	typ         byte // repeated 16 times
	first, last uint64
}

// buildGPT makes a disk with a GPT, independent of the code under test. change
// may spoil a header before its checksum is made.
func buildGPT(sectors uint64, sector int, entrySize, count int, entries []rawEntry, change func(header)) memory {
	m := make(memory, sectors*uint64(sector))
	m[mbrMagic], m[mbrMagic+1] = 0x55, 0xaa
	m[mbrEntries+mbrType] = typeProtective
	binary.LittleEndian.PutUint32(m[mbrEntries+mbrStart:], 1)
	binary.LittleEndian.PutUint32(m[mbrEntries+mbrSectors:], uint32(sectors-1))

	array := make([]byte, entrySize*count)
	for i, e := range entries {
		b := array[i*entrySize:]
		for j := range 16 {
			b[entType+j], b[entGUID+j] = e.typ, byte(i+1)
		}
		binary.LittleEndian.PutUint64(b[entFirst:], e.first)
		binary.LittleEndian.PutUint64(b[entLast:], e.last)
	}
	n := uint64((len(array) + sector - 1) / sector)
	put := func(my, alternate, at uint64) {
		h := header(make([]byte, sector))
		copy(h, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
		h.set64(hdrMyLBA, my)
		h.set64(hdrAlternate, alternate)
		h.set64(hdrFirstUsable, 2+n)
		h.set64(hdrLastUsable, sectors-2-n)
		h.set64(hdrEntriesLBA, at)
		h.set32(hdrEntryCount, uint32(count))
		h.set32(hdrEntrySize, uint32(entrySize))
		h.set32(hdrEntriesCRC, crc32.ChecksumIEEE(array))
		h[hdrDiskGUID] = 0x42
		if change != nil {
			change(h)
		}
		h.set32(hdrCRC, 0)
		h.set32(hdrCRC, crc32.ChecksumIEEE(h[:hdrMinSize]))
		copy(m[my*uint64(sector):], h)
		copy(m[at*uint64(sector):], array)
	}
	put(1, sectors-1, 2)
	put(sectors-1, 1, sectors-1-n)
	return m
}

// putMBR writes an MBR entry into the sector at b and marks it as a boot
// record.
func putMBR(b []byte, slot int, typ byte, start, count uint32) {
	b[mbrMagic], b[mbrMagic+1] = 0x55, 0xaa
	e := b[mbrEntries+slot*mbrEntrySize:]
	e[mbrType] = typ
	binary.LittleEndian.PutUint32(e[mbrStart:], start)
	binary.LittleEndian.PutUint32(e[mbrSectors:], count)
}
