package partition

import "testing"

// A disk that was partitioned anew with another sector size has two sound
// tables.
func TestSectorSizesOfTwoTables(t *testing.T) {
	const size = 64 * mib
	// over puts the table of the sector size young over that of old, as a tool does
	// that writes what belongs to its table and nothing else.
	over := func(old, young int) memory {
		// The longer table of 512 would reach into the header of the other.
		const entries = 12
		m := buildGPT(uint64(size/old), old, 128, entries, []rawEntry{{1, 512, 600}}, nil)
		n := buildGPT(uint64(size/young), young, 128, entries, []rawEntry{{1, 2048, 4000}}, nil)
		for at := 0; at < len(n); at += 512 {
			if !allZero(n[at : at+512]) {
				copy(m[at:at+512], n[at:])
			}
		}
		return m
	}
	damaged := func(m memory, at int) memory { m[at] ^= 1; return m }
	unlength := func(m memory) memory { copy(m[mbrEntries+mbrSectors:], "\xff\xff\xff\xff"); return m }
	for name, tt := range map[string]struct {
		m    memory
		want int
		sure bool
	}{
		"512 with a short table over 4096":           {over(4096, 512), 512, true},
		"4096 over 512":                              {over(512, 4096), 4096, true},
		"the protective MBR tells no length":         {unlength(over(512, 4096)), 4096, false},
		"no length, but the old entries are damaged": {damaged(unlength(over(4096, 512)), 2*4096), 512, true},
		"no length, but the new backup is not there": {damaged(unlength(over(512, 4096)), size-4096), 512, true},
		"512 alone":  {buildGPT(size/512, 512, 128, 128, nil, nil), 512, true},
		"4096 alone": {buildGPT(size/4096, 4096, 128, 128, nil, nil), 4096, true},
	} {
		sizes, sure := SectorSizes(tt.m, int64(len(tt.m)))
		if len(sizes) == 0 || sizes[0] != tt.want || sure != tt.sure {
			t.Errorf("%s: SectorSizes() = %v, %v; want %d, %v", name, sizes, sure, tt.want, tt.sure)
		}
	}
}
