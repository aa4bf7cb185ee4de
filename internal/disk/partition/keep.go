package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Entry is one partition with its record in a GPT, to be taken over into
// another: see [MoveBackup].
type Entry struct {
	Partition
	raw []byte
}

// Entries takes the partitions with these numbers from the GPT of a disk,
// whatever its LBA 0 holds (see [ReadBehind]).
func Entries(r io.ReaderAt, size int64, sector int, numbers ...int) ([]Entry, error) {
	d, err := newDisk(r, size, sector)
	if err != nil {
		return nil, err
	}
	g, err := readGPT(d)
	if err != nil {
		return nil, err
	}
	used := g.used()
	var entries []Entry
	for _, n := range numbers {
		if !slices.Contains(used, n-1) {
			return nil, fmt.Errorf("the disk has no partition %d", n)
		}
		entries = append(entries, Entry{g.partition(n - 1), bytes.Clone(g.entry(n - 1))})
	}
	return entries, nil
}

// SecureBackup plans a sound backup GPT in the last sectors of a disk, where
// any reader looks when the primary is gone, that has the entries. One that is
// there already is left as it is: what is rewritten can be cut off. The plan is
// empty then; else its edits are of the backup alone, which is made from the
// primary, and partitions that reach into its place are left out.
func SecureBackup(r io.ReaderAt, size int64, sector int, keep []Entry) (*Plan, error) {
	const doing = "securing the backup GPT"
	d, err := newDisk(r, size, sector)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if d.sectors == 0 {
		return nil, fmt.Errorf("%s: %w", doing, errOutside)
	}
	last := d.sectors - 1
	if b := (&gpt{disk: d}); b.load(last) == nil && b.has(keep) {
		return &Plan{Note: "the backup GPT is sound"}, nil
	}
	g, err := readGPT(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if !g.has(keep) {
		return nil, fmt.Errorf("%s: the disk has no GPT with all the partitions to be kept", doing)
	}
	n := g.header.entrySectors(sector)
	if last < n || last-n < g.header.u64(hdrFirstUsable) {
		return nil, fmt.Errorf("%s: no room for it", doing)
	}
	entriesAt := last - n
	for _, i := range g.used() {
		if _, end := entryRange(g.entry(i)); end >= entriesAt {
			clear(g.entry(i))
		}
	}
	if !g.has(keep) {
		return nil, fmt.Errorf("%s: a partition to be kept is in its place", doing)
	}
	h := header(bytes.Clone(g.header))
	h.set64(hdrMyLBA, last)
	h.set64(hdrAlternate, 1)
	h.set64(hdrEntriesLBA, entriesAt)
	h.set64(hdrLastUsable, entriesAt-1)
	h.set32(hdrEntriesCRC, crc32.ChecksumIEEE(g.entries[:g.header.entryBytes()]))
	h.set32(hdrCRC, h.checksum())
	return &Plan{
		Edits: []Edit{{Offset: d.bytes(entriesAt), Data: append(bytes.Clone(g.entries), h...)}},
		Note:  "a backup GPT is made at the end of the disk",
	}, nil
}

// BackupStart gives the byte at which a sound backup GPT in the last sectors of
// a disk begins.
func BackupStart(r io.ReaderAt, size int64, sector int) (int64, error) {
	d, err := newDisk(r, size, sector)
	if err != nil {
		return 0, err
	}
	g := &gpt{disk: d}
	if err := g.load(max(d.sectors, 1) - 1); err != nil {
		return 0, fmt.Errorf("looking for the backup GPT: %w", err)
	}
	return d.bytes(g.header.u64(hdrEntriesLBA)), nil
}

// has reports whether the table has partitions with the GUIDs and places of all
// entries.
func (g *gpt) has(entries []Entry) bool {
	used := g.used()
	for _, e := range entries {
		if !slices.ContainsFunc(used, func(i int) bool {
			return bytes.Equal(g.entry(i)[entGUID:entAttrs], e.raw[entGUID:entAttrs])
		}) {
			return false
		}
	}
	return g.check() == nil
}

// adopt puts the entries into the table whose last usable sector is to be
// usable: each under its own number where that is free, else under the lowest
// free one.
func (g *gpt) adopt(entries []Entry, usable uint64) error {
	used := g.used()
	var spans []span
	for _, i := range used {
		first, last := entryRange(g.entry(i))
		spans = append(spans, span{i + 1, first, last})
	}
	wanted := func(i int) bool { return slices.ContainsFunc(entries, func(e Entry) bool { return e.Number == i+1 }) }
	for _, e := range entries {
		if slices.ContainsFunc(used, func(i int) bool { return bytes.Equal(g.entry(i)[entGUID:entFirst], e.raw[entGUID:entFirst]) }) {
			return fmt.Errorf("partition %d to be kept has the GUID of another, %s", e.Number, e.GUID)
		}
		slot := e.Number - 1
		if slot >= g.header.entryCount() || slices.Contains(used, slot) {
			slot = 0
			for slices.Contains(used, slot) || wanted(slot) {
				slot++
			}
		}
		if slot >= g.header.entryCount() {
			return fmt.Errorf("the table has no room for partition %d to be kept: all of its %d entries are taken", e.Number, g.header.entryCount())
		}
		clear(g.entry(slot))
		copy(g.entry(slot), e.raw)
		used = append(used, slot)
		first, last := entryRange(e.raw)
		if first < g.header.u64(hdrFirstUsable) || last > usable {
			return fmt.Errorf("partition %d to be kept: sectors %d to %d are outside the usable sectors %d to %d",
				e.Number, first, last, g.header.u64(hdrFirstUsable), usable)
		}
		spans = append(spans, span{slot + 1, first, last})
	}
	return overlap(spans)
}

// errNoGPT is what keeping partitions of another table than a GPT gives.
var errNoGPT = errors.New("only a GPT can take over partitions")

// below gives the table of the partitions that begin before limit, and where
// the first of the others begins; there is no other when that is negative.
func (t *Table) below(limit int64) (own *Table, next int64) {
	own, next = &Table{Scheme: t.Scheme}, -1
	for _, p := range t.Partitions {
		switch {
		case p.Start < limit:
			own.Partitions = append(own.Partitions, p)
		case next < 0 || p.Start < next:
			next = p.Start
		}
	}
	return own, next
}
