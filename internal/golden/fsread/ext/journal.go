package ext

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden/be"
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
)

// Layout of a journal, as in the kernel's include/linux/jbd2.h; all fields are
// big-endian.
const (
	jbdMagic = 0xc03b3998

	jbdDescriptor = 1
	jbdCommit     = 2
	jbdSuperV2    = 4
	jbdRevoke     = 5

	jbdCompatChecksum = 0x1
	jbdIncompatRevoke = 0x1
	jbdIncompat64Bit  = 0x2
	jbdIncompatCsumV2 = 0x8
	jbdIncompatCsumV3 = 0x10
	// A journal with a feature beyond these is not replayed: commits out of order,
	// fast commits, what is not known yet.
	jbdIncompatKnown = jbdIncompatRevoke | jbdIncompat64Bit | jbdIncompatCsumV2 | jbdIncompatCsumV3

	jbdTagEscape   = 1
	jbdTagSameUUID = 2
	jbdTagLast     = 8

	// maxReplay bounds the blocks that a replay puts in place of others: 1 GiB of
	// blocks of 4 KiB.
	maxReplay = 1 << 18
)

// errNotExact is of a journal that is not replayed.
var errNotExact = errors.New("its journal cannot be replayed exactly")

// journal is the journal of a file system that was not cleanly unmounted.
type journal struct {
	v      *Volume
	log    *volume.Content
	block  int64
	first  int64 // block of the log in which it begins
	last   int64 // and the one behind its end, where it wraps
	start  int64
	seq    uint32
	flags  uint32 // incompatible features
	seed   uint32 // of the checksums
	sums   bool
	tags   []written
	revoke map[int64]uint32 // the last transaction that revokes a block
}

// written is one block that a transaction has written.
type written struct {
	seq     uint32
	target  int64 // block of the file system
	at      int64 // block of the log
	escaped bool  // its first bytes were the magic number
}

// Recovered is the volume after its journal was replayed, where that has to be
// done and can be done exactly.
func (v *Volume) Recovered(r io.ReaderAt, size int64) (*Volume, bool) {
	if v.incompat&incompatRecover == 0 {
		return nil, false
	}
	over, err := v.replay(r, size)
	if err != nil {
		return nil, false
	}
	after, err := Open(volume.NewDevice(over, size))
	return after, err == nil
}

// replay gives the device as the journal leaves it: what a mount would show.
// The error wraps errNotExact where that cannot be told for certain.
func (v *Volume) replay(r io.ReaderAt, size int64) (io.ReaderAt, error) {
	j, err := v.journal()
	if err != nil {
		return nil, err
	}
	committed, err := j.scan()
	if err != nil {
		return nil, err
	}
	over := &replayed{r: r, size: size, block: v.block, log: j.log, blocks: map[int64]written{}}
	for _, t := range j.tags {
		// Sequence numbers wrap around.
		if revoked, ok := j.revoke[t.target]; int32(t.seq-committed) >= 0 || ok && int32(revoked-t.seq) >= 0 {
			continue
		}
		over.blocks[t.target] = t
	}
	return over, nil
}

// journal opens the log, and refuses what it does not understand in full.
func (v *Volume) journal() (*journal, error) {
	if v.journalInode == 0 {
		return nil, fmt.Errorf("the journal is on another device: %w", errNotExact)
	}
	n, err := v.Load(volume.Entry{ID: uint64(v.journalInode)})
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{v: v, block: v.block, revoke: map[int64]uint32{}}
	if j.log, err = v.Content(n); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	sb := make([]byte, 1024)
	if _, err := j.log.ReadAt(sb, 0); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	compat := be.U32(sb, 36)
	j.flags, j.first, j.last = be.U32(sb, 40), int64(be.U32(sb, 20)), int64(be.U32(sb, 16))
	j.seq, j.start = be.U32(sb, 24), int64(be.U32(sb, 28))
	j.sums = j.flags&(jbdIncompatCsumV2|jbdIncompatCsumV3) != 0
	switch {
	case be.U32(sb, 0) != jbdMagic || be.U32(sb, 4) != jbdSuperV2 || int64(be.U32(sb, 12)) != j.block:
		return nil, volume.Corrupt("journal superblock")
	case compat&jbdCompatChecksum != 0 || j.flags&^jbdIncompatKnown != 0 || be.U32(sb, 32) != 0:
		return nil, fmt.Errorf("features %#x and %#x, error %d: %w", compat, j.flags, be.U32(sb, 32), errNotExact)
	case j.first < 1 || j.last <= j.first || j.last > j.log.Size/j.block || j.start != 0 && (j.start < j.first || j.start >= j.last):
		return nil, volume.Corrupt("journal of blocks %d to %d that starts at %d", j.first, j.last, j.start)
	}
	if j.sums {
		sum := be.U32(sb, 0xfc)
		clear(sb[0xfc:0x100])
		if sb[0x50] != 4 || volume.Castagnoli(^uint32(0), sb) != sum {
			return nil, volume.Corrupt("checksum of the journal superblock")
		}
		j.seed = volume.Castagnoli(^uint32(0), sb[48:64])
	}
	return j, nil
}

// scan reads the transactions in their order and returns the sequence number of
// the first that was not committed.
func (j *journal) scan() (committed uint32, err error) {
	seq, at := j.seq, j.start
	if at == 0 {
		return seq, nil // empty
	}
	b := make([]byte, j.block)
	for read := int64(0); read < j.last; read++ {
		if err := j.read(b, at); err != nil {
			return 0, err
		}
		if be.U32(b, 0) != jbdMagic || be.U32(b, 8) != seq {
			return seq, nil
		}
		where := at
		at = j.next(at)
		switch kind := be.U32(b, 4); kind {
		case jbdDescriptor:
			n, err := j.descriptor(b, seq, at)
			if err != nil {
				return 0, err
			}
			for range n {
				at = j.next(at)
			}
			read += n
		case jbdRevoke:
			if err := j.revokes(b, seq); err != nil {
				return 0, err
			}
		case jbdCommit:
			if !j.sumIs(b, 16) {
				return 0, fmt.Errorf("checksum of the commit in block %d: %w", where, errNotExact)
			}
			seq++
		default:
			return 0, volume.Corrupt("journal block %d of kind %d", where, kind)
		}
	}
	return seq, nil
}

func (j *journal) next(at int64) int64 {
	if at++; at >= j.last {
		return j.first
	}
	return at
}

func (j *journal) read(b []byte, at int64) error {
	if _, err := j.log.ReadAt(b, at*j.block); err != nil {
		return fmt.Errorf("journal block %d: %w", at, err)
	}
	return nil
}

// descriptor reads the tags of a block, whose data follow it, and returns how
// many there are.
func (j *journal) descriptor(b []byte, seq uint32, at int64) (int64, error) {
	end := len(b)
	if j.sums {
		end -= 4
		if !j.sumIs(b, end) {
			return 0, fmt.Errorf("checksum of a descriptor of transaction %d: %w", seq, errNotExact)
		}
	}
	size, flagsAt := 8, 6
	if j.flags&jbdIncompatCsumV3 != 0 {
		size, flagsAt = 16, 4
	} else {
		if j.flags&jbdIncompat64Bit != 0 {
			size += 4
		}
		if j.flags&jbdIncompatCsumV2 != 0 {
			size += 2
		}
	}
	data := make([]byte, j.block)
	var count int64
	for off := 12; off+size <= end; count++ {
		tag := b[off : off+size]
		off += size
		flags := uint32(binary.BigEndian.Uint16(tag[flagsAt:]))
		if j.flags&jbdIncompatCsumV3 != 0 {
			flags = be.U32(tag, flagsAt)
		}
		t := written{seq: seq, target: int64(be.U32(tag, 0)), at: at, escaped: flags&jbdTagEscape != 0}
		if j.flags&jbdIncompat64Bit != 0 {
			t.target |= int64(be.U32(tag, 8)) << 32
		}
		if t.target < 0 || t.target >= j.v.blocks || len(j.tags) >= maxReplay {
			return 0, volume.Corrupt("the journal writes block %d of %d", t.target, j.v.blocks)
		}
		if j.sums {
			if err := j.read(data, at); err != nil {
				return 0, err
			}
			sum := volume.Castagnoli(volume.Castagnoli(j.seed, binary.BigEndian.AppendUint32(nil, seq)), data)
			if j.flags&jbdIncompatCsumV3 != 0 && sum != be.U32(tag, 12) ||
				j.flags&jbdIncompatCsumV3 == 0 && uint16(sum) != binary.BigEndian.Uint16(tag[4:]) {
				return 0, fmt.Errorf("checksum of journal block %d: %w", at, errNotExact)
			}
		}
		j.tags = append(j.tags, t)
		at = j.next(at)
		if flags&jbdTagSameUUID == 0 {
			off += 16
		}
		if flags&jbdTagLast != 0 {
			return count + 1, nil
		}
	}
	return count, nil
}

// revokes reads the blocks that older transactions of the journal must not
// write any more.
func (j *journal) revokes(b []byte, seq uint32) error {
	size, end := 4, int(min(be.U32(b, 12), uint32(len(b))))
	if j.flags&jbdIncompat64Bit != 0 {
		size = 8
	}
	if j.sums && !j.sumIs(b, len(b)-4) {
		return fmt.Errorf("checksum of a revocation of transaction %d: %w", seq, errNotExact)
	}
	for off := 16; off+size <= end; off += size {
		block := int64(be.U32(b, off))
		if size == 8 {
			block = int64(be.U64(b, off))
		}
		if len(j.revoke) >= maxReplay {
			return fmt.Errorf("more than %d revocations: %w", maxReplay, errNotExact)
		}
		j.revoke[block] = seq
	}
	return nil
}

// sumIs holds a block against its checksum at off, which counts as zero.
// Without checksums every block is right.
func (j *journal) sumIs(b []byte, off int) bool {
	if !j.sums {
		return true
	}
	sum := be.U32(b, off)
	c := bytes.Clone(b)
	clear(c[off : off+4])
	return volume.Castagnoli(j.seed, c) == sum
}

// replayed is a device with blocks of its journal in their places.
type replayed struct {
	r      io.ReaderAt
	size   int64
	block  int64
	log    *volume.Content
	blocks map[int64]written
}

// ReadAt implements [io.ReaderAt].
func (d *replayed) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.r.ReadAt(p, off)
	if n < len(p) {
		return n, err
	}
	for i := off / d.block; i*d.block < off+int64(len(p)); i++ {
		t, ok := d.blocks[i]
		if !ok {
			continue
		}
		b := make([]byte, d.block)
		if _, err := d.log.ReadAt(b, t.at*d.block); err != nil {
			return 0, err
		}
		if t.escaped {
			binary.BigEndian.PutUint32(b, jbdMagic)
		}
		from := i * d.block
		if from < off {
			copy(p, b[off-from:])
		} else {
			copy(p[from-off:], b)
		}
	}
	return n, nil
}
