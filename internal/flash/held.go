package flash

import (
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/golden"
)

// heldBytes is how much of the image's head and of its tail waits in memory
// until the seal. Both GPTs lie within it: the entries of the largest table
// that partition accepts end well before.
const heldBytes = 1 << 20

// heldChunks are the chunks that are written last. Without the head no
// firmware and no kernel finds anything on the disk, and a head that came
// early would be there before what it points at.
type heldChunks struct {
	raw map[int][]byte // by chunk; filled by one worker each
}

func newHeldChunks(t *golden.Table, sector int) *heldChunks {
	h := &heldChunks{raw: map[int][]byte{}}
	for i := range t.Len() {
		off, length := t.Extent(i)
		if off < max(heldBytes, int64(sector)) || off+length > t.DiskSize-heldBytes {
			h.raw[i] = blockdev.AlignedBuffer(int(length))
		}
	}
	return h
}

func (h *heldChunks) holds(i int) bool {
	_, ok := h.raw[i]
	return ok
}

// take keeps a copy of the chunk if it is one to be held.
func (h *heldChunks) take(i int, raw []byte) bool {
	buf, ok := h.raw[i]
	if ok {
		copy(buf, raw)
	}
	return ok
}
