package powercut

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/gild-dev/gild/test/powercut/writelog"
)

// sectorSize is the least that a disk keeps or loses.
const sectorSize = 512

// medium is a disk with a volatile cache to which a log is replayed: base is
// what a power cut leaves for certain, pending what the cache still has.
type medium struct {
	base    []byte
	entries []writelog.Entry
	data    [][]byte // of each entry
	at      int      // entries that have ended
	carried int      // of those, how many are in base
}

// openLog reads a whole log into memory.
func openLog(t *testing.T, path string, base []byte) *medium {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	log, err := writelog.Read(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	m := &medium{base: bytes.Clone(base), entries: log.Entries}
	for i, e := range log.Entries {
		if e.Flags&writelog.Discard != 0 {
			t.Errorf("entry %d discards %d bytes at %d: the engine trusts in no discard", i, e.Length, e.Offset)
		}
		data, err := log.Data(e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Offset+int64(len(data)) > int64(len(base)) {
			t.Fatalf("entry %d writes %d bytes at %d, beyond the disk", i, e.Length, e.Offset)
		}
		m.data = append(m.data, data)
	}
	return m
}

// advance lets entries end until n of them have.
func (m *medium) advance(n int) {
	for ; m.at < n; m.at++ {
		if m.entries[m.at].Flags&writelog.Flush == 0 {
			continue
		}
		// A flush that has data of its own carries what came before, not itself.
		for ; m.carried < m.at; m.carried++ {
			copy(m.base[m.entries[m.carried].Offset:], m.data[m.carried])
		}
	}
}

// cut makes base what a power cut may leave now, and returns how to undo that.
// Each write that no flush has carried is kept, lost, or torn into sectors of
// which each is kept or lost.
func (m *medium) cut(rng *rand.Rand) (undo func()) {
	kept := make([]patch, 0, m.at-m.carried)
	favour := rng.Float64() // from disks that lose nearly all to disks that keep nearly all
	for i := m.carried; i < m.at; i++ {
		e, data := m.entries[i], m.data[i]
		switch {
		case len(data) == 0:
		case e.Flags&writelog.FUA != 0 || rng.Float64() < favour:
			kept = append(kept, patch{e.Offset, data})
		case rng.IntN(2) == 0: // torn
			for off := 0; off < len(data); off += sectorSize {
				if rng.IntN(2) == 0 {
					kept = append(kept, patch{e.Offset + int64(off), data[off : off+sectorSize]})
				}
			}
		}
	}
	return m.apply(kept)
}

// whole makes base what it is when the cache loses nothing, and returns how to
// undo that.
func (m *medium) whole() (undo func()) {
	var all []patch
	for i := m.carried; i < m.at; i++ {
		all = append(all, patch{m.entries[i].Offset, m.data[i]})
	}
	return m.apply(all)
}

// patch is bytes at an offset of the disk.
type patch struct {
	off  int64
	data []byte
}

func (m *medium) apply(patches []patch) (undo func()) {
	old := make([]patch, len(patches))
	for i, p := range patches {
		place := m.base[p.off : p.off+int64(len(p.data))]
		old[i] = patch{p.off, bytes.Clone(place)}
		copy(place, p.data)
	}
	return func() {
		for i := len(old) - 1; i >= 0; i-- {
			copy(m.base[old[i].off:], old[i].data)
		}
	}
}

// verdict is what a disk after a power cut is.
type verdict string

// The three that are allowed, and the one that is not.
const (
	untouched verdict = "old"    // every byte as before the flash
	closed    verdict = "closed" // LBA 0 is zero
	sealed    verdict = "sealed" // every byte as after the flash
	half      verdict = "half"
)

func judge(disk, before, after []byte) verdict {
	switch {
	case bytes.Equal(disk[:sectorSize], make([]byte, sectorSize)):
		return closed
	case bytes.Equal(disk, before):
		return untouched
	case bytes.Equal(disk, after):
		return sealed
	}
	return half
}

// The replay itself is worth a test: with it everything stands.
func TestMedium(t *testing.T) {
	sector := func(b byte) []byte { return bytes.Repeat([]byte{b}, sectorSize) }
	write := func(lba int64, flags writelog.Flags) writelog.Entry {
		return writelog.Entry{Offset: lba * sectorSize, Length: sectorSize, Flags: flags}
	}
	m := &medium{
		base:    make([]byte, 4*sectorSize),
		entries: []writelog.Entry{write(0, 0), {Flags: writelog.Flush}, write(1, 0), write(2, writelog.FUA), write(3, 0)},
		data:    [][]byte{sector(1), nil, sector(2), sector(3), sector(4)},
	}
	seen := map[string]bool{}
	rng := rand.New(rand.NewPCG(1, 1))
	look := func() {
		for range 200 {
			undo := m.cut(rng)
			seen[string([]byte{m.base[0], m.base[512], m.base[1024], m.base[1536]})] = true
			undo()
		}
	}
	m.advance(1)
	look()
	if want := map[string]bool{"\x00\x00\x00\x00": true, "\x01\x00\x00\x00": true}; len(seen) != len(want) || !seen["\x00\x00\x00\x00"] ||
		!seen["\x01\x00\x00\x00"] {
		t.Errorf("before the flush a cut leaves %v; want %v", seen, want)
	}
	clear(seen)
	m.advance(2)
	look()
	if len(seen) != 1 || !seen["\x01\x00\x00\x00"] {
		t.Errorf("after the flush a cut leaves %v; want the write", seen)
	}
	clear(seen)
	m.advance(5)
	look()
	if len(seen) != 4 || !seen["\x01\x00\x03\x00"] || !seen["\x01\x02\x03\x04"] {
		t.Errorf("after a write with FUA between two others a cut leaves %v; want it in all, the others in any", seen)
	}
	undo := m.whole()
	if got := m.base[1536]; got != 4 {
		t.Errorf("with nothing lost the last sector holds %d; want 4", got)
	}
	undo()
	if !bytes.Equal(m.base, append(sector(1), make([]byte, 3*sectorSize)...)) {
		t.Error("undone, the disk is not as before")
	}
}
