package flash

import (
	"slices"
	"testing"
)

// A write of the system that failed leaves the image's bytes to be brought.
func TestFailedWriteIsNobodys(t *testing.T) {
	im := newSimImage(t, 1)
	m := newChunkMap(im.table, &heldChunks{raw: map[int][]byte{}})
	i := slices.IndexFunc(m.state, func(s state) bool { return s == absent })
	for _, ok := range []bool{false, true} {
		if err := m.beginWrite(t.Context(), i, simChunkSectors, false); err != nil {
			t.Fatal(err)
		}
		m.endWrite(i, 0, 1, ok)
		if got := m.readable(i, 0, 1, false) == fromMedium; got != ok {
			t.Errorf("after a write that went well (%v) the medium is right: %v", ok, got)
		}
	}
}
