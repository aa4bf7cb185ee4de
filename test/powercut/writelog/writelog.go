// Package writelog reads logs of every write to a disk, in the format of the
// kernel's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst), which QEMU's
// blklogwrites filter writes too.
//
// A log is a super block and then the entries, each a header of one sector and
// the data written. Entries are in the order in which they ended, so all that
// stands before a flush was carried by it. One thing a log cannot tell: a write
// that ended while a flush was on its way stands before that flush, and need
// not have been carried by it.
package writelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Flags say what an entry is beside a write (drivers/md/dm-log-writes.c).
type Flags uint64

// The flags.
const (
	Flush   Flags = 1 << iota // all before it is on the medium
	FUA                       // this write is on the medium
	Discard                   // the range may read as anything; there is no data
	Mark                      // a text of whoever logs, no write

	known = Flush | FUA | Discard | Mark
)

const (
	magic       = 0x6a736677736872
	version     = 1
	superSize   = 28
	headerSize  = 32
	minSector   = 512
	maxSector   = 1 << 20
	maxEntries  = 1 << 22 // 128 GiB of writes of 32 KiB each; what is kept of one has 40 bytes
	maxPosition = 1 << 62 // of a byte on the disk, so that no sum of two overflows
)

// ErrCorrupt is wrapped by every error about the log's content.
var ErrCorrupt = errors.New("damaged write log")

// Entry is one operation. Offset and Length are bytes on the disk, both zero
// for a mere flush.
type Entry struct {
	Offset, Length int64
	Flags          Flags

	data int64 // offset in the log
}

// Writes reports whether the entry carries data.
func (e Entry) Writes() bool { return e.Flags&(Discard|Mark) == 0 && e.Length > 0 }

// Log is a log that was found sound: every entry lies inside it.
type Log struct {
	SectorSize int
	Entries    []Entry

	r io.ReaderAt
}

// Read reads the headers of a log of size bytes. What follows the entries that
// the super block counts is not looked at: a writer that was killed counted
// them last at a flush.
func Read(r io.ReaderAt, size int64) (*Log, error) {
	var super [superSize]byte
	if _, err := r.ReadAt(super[:], 0); err != nil {
		return nil, fmt.Errorf("write log: super block: %w", err)
	}
	le := binary.LittleEndian
	if m, v := le.Uint64(super[0:]), le.Uint64(super[8:]); m != magic || v != version {
		return nil, fmt.Errorf("write log: magic %#x, version %d: %w", m, v, ErrCorrupt)
	}
	count, sector := le.Uint64(super[16:]), le.Uint32(super[24:])
	if bits.OnesCount32(sector) != 1 || sector < minSector || sector > maxSector {
		return nil, fmt.Errorf("write log: sectors of %d bytes: %w", sector, ErrCorrupt)
	}
	// Each entry takes a sector at least: a false count costs no memory.
	if count > maxEntries || size < 0 || count > uint64(size)/uint64(sector) {
		return nil, fmt.Errorf("write log: %d entries in %d bytes: %w", count, size, ErrCorrupt)
	}
	l := &Log{SectorSize: int(sector), Entries: make([]Entry, 0, count), r: r}
	at := int64(sector)
	for i := range count {
		e, next, err := readEntry(r, at, size, int64(sector))
		if err != nil {
			return nil, fmt.Errorf("write log: entry %d of %d at byte %d: %w", i, count, at, err)
		}
		l.Entries = append(l.Entries, e)
		at = next
	}
	return l, nil
}

// readEntry reads the header at offset at and returns where the next one is.
func readEntry(r io.ReaderAt, at, size, sector int64) (e Entry, next int64, err error) {
	var header [headerSize]byte
	if _, err := r.ReadAt(header[:], at); err != nil {
		return Entry{}, 0, err
	}
	le := binary.LittleEndian
	first, count, flags := le.Uint64(header[0:]), le.Uint64(header[8:]), Flags(le.Uint64(header[16:]))
	limit := uint64(maxPosition / sector)
	switch {
	case flags&^known != 0:
		return Entry{}, 0, fmt.Errorf("flags %#x: %w", uint64(flags), ErrCorrupt)
	case first > limit || count > limit:
		return Entry{}, 0, fmt.Errorf("%d sectors at sector %d: %w", count, first, ErrCorrupt)
	case count == 0 && flags&(Flush|Mark) == 0:
		// A hole where a killed writer's header should be looks like this.
		return Entry{}, 0, fmt.Errorf("a write of nothing: %w", ErrCorrupt)
	}
	e = Entry{Offset: int64(first) * sector, Length: int64(count) * sector, Flags: flags, data: at + sector}
	next = e.data
	if e.Flags&Discard == 0 {
		// A mark's text lies in its header's sector, and its count is zero.
		if e.Length > size-next {
			return Entry{}, 0, fmt.Errorf("%d bytes of data, beyond the end: %w", e.Length, ErrCorrupt)
		}
		next += e.Length
	}
	return e, next, nil
}

// Data returns the bytes that an entry wrote.
func (l *Log) Data(e Entry) ([]byte, error) {
	if !e.Writes() {
		return nil, nil
	}
	data := make([]byte, e.Length)
	if _, err := l.r.ReadAt(data, e.data); err != nil {
		return nil, fmt.Errorf("write log: data of %d bytes at byte %d of the disk: %w", e.Length, e.Offset, err)
	}
	return data, nil
}
