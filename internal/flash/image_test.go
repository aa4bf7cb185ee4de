package flash

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

const (
	sector = 512
	mib    = 1 << 20
)

// testImage is a stored image in memory with its source.
type testImage struct {
	raw  []byte
	blob []byte
	*golden.Image
}

// newTestImage stores raw in chunks of 64 KiB.
func newTestImage(t testing.TB, raw []byte, scheme string) *testImage {
	t.Helper()
	return newSectorImage(t, raw, scheme, sector, golden.MinChunkSize, golden.SHA256)
}

func newSectorImage(t testing.TB, raw []byte, scheme string, sector int, chunkSize int64, hash golden.Algorithm) *testImage {
	t.Helper()
	im := &testImage{raw: raw}
	table, err := golden.NewTable(chunkSize, hash)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range golden.ChunkCount(int64(len(raw)), table.ChunkSize) {
		chunk := raw[i*table.ChunkSize : min((i+1)*table.ChunkSize, int64(len(raw)))]
		frame := enc.EncodeAll(chunk, nil)
		if err := table.Append(int64(len(chunk)), golden.Chunk{
			Hash: hash.Sum(chunk), Offset: int64(len(im.blob)), Length: int64(len(frame)),
			Zero: len(bytes.Trim(chunk, "\x00")) == 0,
		}); err != nil {
			t.Fatal(err)
		}
		im.blob = append(im.blob, frame...)
	}
	im.Image = &golden.Image{Table: table, Config: &golden.Config{Disk: golden.Disk{
		Size: table.DiskSize, SectorSize: sector, ChunkSize: table.ChunkSize, Hash: hash.String(), Scheme: scheme,
	}}}
	return im
}

func (im *testImage) ReadRange(_ context.Context, off, length int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(im.blob), off, length)), nil
}

// by is the source of the image whose blob r gives.
func (im *testImage) by(r supply.Ranges) supply.Source {
	return supply.Blob{Ranges: r, Table: im.Table, Name: "the test"}
}

// randomDisk is n bytes with a boot sector and runs of zeros in it.
func randomDisk(seed byte, n int) []byte {
	raw := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{seed})
	rnd.Read(raw)
	for i := 0; i+golden.MinChunkSize <= n; i += golden.MinChunkSize {
		if rnd.Uint64()%3 == 0 && i > 0 {
			clear(raw[i : i+golden.MinChunkSize])
		}
	}
	raw[0], raw[510], raw[511] = 0xeb, 0x55, 0xaa
	return raw
}

// putGPT writes a GPT with one partition onto the disk; putEntries one with
// others (UEFI 2.10, chapter 5): protective MBR, primary and, at the end,
// backup.
func putGPT(disk []byte, sector int) {
	first := 2 + (128*128+sector-1)/sector
	putEntries(disk, sector, gptEntry{1, "unique partition", first * sector, len(disk)/sector*sector - (first-1)*sector})
}

// gptEntry is a partition of a test's GPT, from byte to byte.
type gptEntry struct {
	number   int
	guid     string // 16 bytes
	from, to int
}

func putEntries(disk []byte, sector int, parts ...gptEntry) {
	le := binary.LittleEndian
	last := uint64(len(disk)/sector) - 1
	table := (128*128 + sector - 1) / sector
	entries := make([]byte, table*sector)
	for _, p := range parts {
		e := entries[128*(p.number-1):]
		copy(e, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4"+p.guid)
		le.PutUint64(e[32:], uint64(p.from/sector))
		le.PutUint64(e[40:], uint64(p.to/sector-1))
	}
	header := func(at, other, entriesAt uint64) []byte {
		h := make([]byte, sector)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00")
		for off, v := range map[int]uint64{24: at, 32: other, 40: uint64(2 + table), 48: last - uint64(table) - 1, 72: entriesAt} {
			le.PutUint64(h[off:], v)
		}
		copy(h[56:], "this disk's GUID")
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(entries[:128*128]))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		return h
	}
	clear(disk[446:512])
	copy(disk[446:], "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00")
	le.PutUint32(disk[458:], uint32(last))
	disk[510], disk[511] = 0x55, 0xaa
	end := (int(last) + 1) * sector
	copy(disk[sector:], header(1, last, 2))
	copy(disk[2*sector:], entries)
	copy(disk[end-sector-len(entries):], entries)
	copy(disk[end-sector:], header(last, 1, last-uint64(table)))
}

// flashed is what the disk must hold when it is sealed: the image, with its
// GPT fitted to the disk, and of the rest of the disk what the wipe of old
// signatures left.
func flashed(t testing.TB, old []byte, im *testImage) []byte {
	t.Helper()
	want := bytes.Clone(old)
	for _, r := range blockdev.SignatureRanges(int64(len(old))) {
		clear(want[r.Offset : r.Offset+r.Length])
	}
	copy(want, im.raw)
	if im.Config.Disk.Scheme != "gpt" {
		return want
	}
	plan, err := partition.MoveBackup(bytes.NewReader(im.raw), int64(len(im.raw)), int64(len(old)), im.Config.Disk.SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Edits {
		copy(want[e.Offset:], e.Data)
	}
	return want
}

// oldKinds are disks as they come, each with a bootable LBA 0 of its own.
var oldKinds = []string{"GPT", "MBR", "LVM", "md 1.0", "superfloppy"}

// oldDisk is a used disk of n bytes.
func oldDisk(kind string, seed byte, n, sector int) []byte {
	disk := randomDisk(seed, n)
	switch kind {
	case "GPT":
		putGPT(disk, sector)
	case "LVM":
		copy(disk[sector:], "LABELONE")
		copy(disk[sector+24:], "LVM2 001")
	case "md 1.0": // its super block is 8 KiB before the end
		copy(disk[n-8<<10:], "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")
	case "superfloppy":
		copy(disk, "\xeb\x58\x90mkfs.fat")
	}
	return disk
}
