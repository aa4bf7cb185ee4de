package partition

import (
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repair makes the checksums right, or the fuzzer would never get past them.
func repair(m memory, sector int) {
	for _, at := range []int{sector, len(m) - sector} {
		if at < 0 || at+sector > len(m) {
			continue
		}
		h := header(m[at : at+sector])
		first := h.u64(hdrEntriesLBA)
		n := uint64(h.u32(hdrEntryCount)) * uint64(h.u32(hdrEntrySize))
		if first < 1<<20 && n < 1<<20 && first*uint64(sector)+n <= uint64(len(m)) {
			h.set32(hdrEntriesCRC, crc32.ChecksumIEEE(m[first*uint64(sector):][:n]))
		}
		if s := h.u32(hdrSize); s >= hdrMinSize && s <= uint32(sector) {
			h.set32(hdrCRC, h.checksum())
		}
	}
}

// FuzzGrow feeds Read with foreign tables and grows what it accepts: the plan
// must lead to a disk that reads back with the same partitions, but for the one
// that grew.
func FuzzGrow(f *testing.F) {
	f.Add([]byte(buildGPT(14, 512, 128, 4, []rawEntry{{1, 8, 9}, {2, 4, 6}}, nil)), true, false, uint8(40))
	f.Add([]byte(buildGPT(6, 4096, 128, 4, []rawEntry{{1, 3, 3}}, nil)), true, true, uint8(3))
	f.Add([]byte(buildGPT(12, 512, 256, 2, []rawEntry{{0xaf, 4, 5}}, nil)), true, false, uint8(0))
	mbr := make(memory, 12*512)
	putMBR(mbr, 0, 0x83, 1, 1)
	putMBR(mbr, 1, 0x05, 3, 6)
	putMBR(mbr[3*512:], 0, 0x83, 1, 1)
	putMBR(mbr[3*512:], 1, 0x05, 3, 3)
	putMBR(mbr[6*512:], 0, 0x83, 1, 1)
	f.Add([]byte(mbr), false, false, uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, fix, large bool, extra uint8) {
		sector := 512
		if large {
			sector = 4096
		}
		m := memory(b)
		if fix {
			repair(m, sector)
		}
		before, err := Read(m, int64(len(m)), sector)
		if err != nil {
			return
		}
		for _, p := range before.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.End() > int64(len(m)) {
				t.Fatalf("Read accepted %+v on a disk of %d bytes", p, len(m))
			}
		}
		disk := make(memory, (len(m)+int(extra)*sector)/sector*sector)
		copy(disk, m)
		grow := GrowOptions{Align: int64(sector), Allow: func(Partition) bool { return true }}
		for _, step := range []func() (*Plan, error){
			func() (*Plan, error) { return MoveBackup(m, int64(len(m)), int64(len(disk)), sector) },
			func() (*Plan, error) { return GrowLast(disk, int64(len(disk)), sector, grow) },
		} {
			plan, err := step()
			if err != nil {
				return // no room, or rounded below the image's size
			}
			checkEdits(t, plan, sector)
			apply(t, disk, plan)
			after, err := Read(disk, int64(len(disk)), sector)
			if err != nil {
				t.Fatalf("the result is refused: %v", err)
			}
			for i := range before.Partitions {
				if plan.Grown != nil && plan.Grown.Number == before.Partitions[i].Number {
					if plan.Grown.Size <= before.Partitions[i].Size {
						t.Fatalf("grew from %d to %d bytes", before.Partitions[i].Size, plan.Grown.Size)
					}
					before.Partitions[i] = *plan.Grown
				}
			}
			if diff := cmp.Diff(before.Partitions, after.Partitions); diff != "" {
				t.Fatalf("partitions (-want +got):\n%s", diff)
			}
			if after.FromBackup {
				t.Fatal("the primary GPT is still damaged")
			}
		}
	})
}

// FuzzDetectSectorSize checks that a GPT is only found where there is room for
// one.
func FuzzDetectSectorSize(f *testing.F) {
	f.Add([]byte(buildGPT(12, 512, 128, 4, nil, nil)))
	f.Add([]byte(buildGPT(6, 4096, 128, 4, nil, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		sector, ok := DetectSectorSize(memory(b), int64(len(b)))
		if ok && len(b) < 2*sector {
			t.Fatalf("DetectSectorSize() = %d on %d bytes", sector, len(b))
		}
		if end, ok := End(b); end < 0 || ok != (end > 0) {
			t.Fatalf("End() = %d, %v", end, ok)
		}
	})
}
