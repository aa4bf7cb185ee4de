package writelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// write is the inverse of Read, for tests: entries and their data.
func write(sector int, count uint64, entries []Entry, data [][]byte) []byte {
	le := binary.LittleEndian
	log := make([]byte, sector)
	le.PutUint64(log[0:], magic)
	le.PutUint64(log[8:], version)
	le.PutUint64(log[16:], count)
	le.PutUint32(log[24:], uint32(sector))
	for i, e := range entries {
		header := make([]byte, sector)
		le.PutUint64(header[0:], uint64(e.Offset)/uint64(sector))
		le.PutUint64(header[8:], uint64(e.Length)/uint64(sector))
		le.PutUint64(header[16:], uint64(e.Flags))
		log = append(append(log, header...), data[i]...)
	}
	return log
}

func sample() ([]Entry, [][]byte) {
	entries := []Entry{
		{Offset: 0, Length: 512},
		{Flags: Flush},
		{Offset: 1024, Length: 1024, Flags: FUA},
		{Offset: 4096, Length: 1 << 40, Flags: Discard},
		{Flags: Mark},
		{Offset: 512, Length: 512, Flags: Flush | FUA},
	}
	one, two, three := bytes.Repeat([]byte{1}, 512), bytes.Repeat([]byte{2}, 1024), bytes.Repeat([]byte{3}, 512)
	return entries, [][]byte{one, nil, two, nil, nil, three}
}

func TestRead(t *testing.T) {
	entries, data := sample()
	raw := write(512, uint64(len(entries)), entries, data)
	log, err := Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, log.Entries, cmpopts.IgnoreUnexported(Entry{})); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for i, e := range log.Entries {
		got, err := log.Data(e)
		if err != nil || !bytes.Equal(got, data[i]) {
			t.Errorf("Data of entry %d = %d bytes, %v; want %d", i, len(got), err, len(data[i]))
		}
	}
}

func TestReadRefuses(t *testing.T) {
	entries, data := sample()
	good := write(512, uint64(len(entries)), entries, data)
	broken := func(off int, value uint64) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint64(b[off:], value)
		return b
	}
	for _, tt := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"empty", nil, "super block"},
		{"magic", broken(0, 7), "magic"},
		{"version", broken(8, 2), "version"},
		{"sectors", broken(24, 513), "sectors of 513"},
		{"too many entries", broken(16, 1<<60), "entries"},
		{"flags", broken(512+16, 1<<9), "flags"},
		{"far", broken(512, 1<<63), "at sector"},
		{"hole", broken(512+8, 0), "write of nothing"},
		{"data beyond the end", good[:len(good)-1], "beyond the end"},
		{"header beyond the end", good[:len(good)-1024], "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(tt.raw), int64(len(tt.raw)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read() = %v; want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := Read(bytes.NewReader(broken(0, 7)), int64(len(good))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Read() = %v; want %v", err, ErrCorrupt)
	}
}

// Whatever is read lies inside the log, and written again it is the same log.
func FuzzRead(f *testing.F) {
	entries, data := sample()
	f.Add(write(512, uint64(len(entries)), entries, data))
	f.Add(write(4096, 1, []Entry{{Offset: 8192, Length: 4096}}, [][]byte{make([]byte, 4096)}))
	f.Add(write(512, 0, nil, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		log, err := Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		var all [][]byte
		for _, e := range log.Entries {
			d, err := log.Data(e)
			if err != nil {
				t.Fatalf("Data(%+v) = %v", e, err)
			}
			if e.Flags&Mark != 0 && e.Length > 0 {
				return // no writer makes one; its data is skipped
			}
			all = append(all, d)
		}
		again := write(log.SectorSize, uint64(len(log.Entries)), log.Entries, all)
		twin, err := Read(bytes.NewReader(again), int64(len(again)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(log.Entries, twin.Entries, cmpopts.IgnoreUnexported(Entry{})); diff != "" {
			t.Fatalf("read, written and read again (-first +again):\n%s", diff)
		}
	})
}
