package signature

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// Whatever the bytes, every mark lies inside, and a mark at the head does not
// depend on what is behind it.
func FuzzFind(f *testing.F) {
	for _, m := range magics {
		b := make([]byte, 68<<10)
		if m.offset >= 0 && m.offset < int64(len(b))-64 {
			copy(b[m.offset:], m.text)
			f.Add(b[:m.offset+int64(len(m.text))])
		}
	}
	f.Add(append(make([]byte, 1024), bytes.Repeat([]byte{0x53, 0xef}, 512)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		list, err := Find(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.Offset < 0 || s.Offset >= int64(len(p)) || s.Kind == "" {
				t.Errorf("mark %+v on a partition of %d bytes", s, len(p))
			}
		}
		again, err := Find(bytes.NewReader(p), int64(len(p)))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("Find() = %v, then %v", list, again)
		}
	})
}

// Every text of the table is found in its place, alone.
func TestMagics(t *testing.T) {
	for _, m := range magics {
		b := make([]byte, 3<<20)
		at := m.offset
		if at < 0 {
			at += int64(len(b))
		}
		copy(b[at:], m.text)
		list, err := Find(bytes.NewReader(b), int64(len(b)))
		if err != nil || !slices.Equal(Kinds(list), []string{m.kind}) {
			t.Errorf("%s at %d: found %v, %v", m.kind, m.offset, list, err)
		}
	}
}

type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestFindReportsTheReadersError(t *testing.T) {
	cause := errors.New("bad sector")
	if _, err := Find(broken{cause}, 1<<20); !errors.Is(err, cause) {
		t.Errorf("Find() = %v; want %v", err, cause)
	}
}
