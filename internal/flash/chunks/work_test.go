package chunks

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/gild-dev/gild/internal/golden"
)

// sectors is how many a chunk of these tests has.
const sectors = 4

// newTable describes a disk with a chunk for each letter: d for data, z for
// zeros.
func newTable(t testing.TB, kinds string) *golden.Table {
	t.Helper()
	table, err := golden.NewTable(golden.MinChunkSize, golden.BLAKE3)
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range kinds {
		c := golden.Chunk{Hash: golden.Hash{byte(i + 1)}, Offset: table.BlobSize(), Length: 1000}
		if kind == 'z' {
			c.Zero, c.Hash = true, table.ZeroHash(table.ChunkSize)
		}
		if err := table.Append(table.ChunkSize, c); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

func nothingHeld(int) bool { return false }

// Who gives up waiting for a chunk leaves it urgent for the others.
func TestWhoGivesUpTakesNobodysTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(newTable(t, "ddzd"), nothingHeld)
		const i = 3
		served := make(chan error, 1)
		go func() { served <- m.Work.Demand(t.Context(), i) }()
		synctest.Wait()
		hasty, giveUp := context.WithCancel(t.Context())
		giveUp()
		if err := m.Work.Demand(hasty, i); err == nil {
			t.Error("Demand() = nil for one that has given up")
		}
		if span, _ := m.Work.ClaimUrgent(hasty); len(span) != 1 || span[0] != i {
			t.Errorf("ClaimUrgent() = %v; want chunk %d, which the other waits for", span, i)
		}
		m.Work.Landed(i)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// sparseTable describes a disk of n chunks of 1 MiB, of which every third
// holds data in frames of 400 kB.
func sparseTable(b *testing.B, n int) *golden.Table {
	b.Helper()
	table, err := golden.NewTable(golden.DefaultChunkSize, golden.BLAKE3)
	if err != nil {
		b.Fatal(err)
	}
	zeros := golden.BLAKE3.Sum(make([]byte, golden.DefaultChunkSize))
	for i := range n {
		c := golden.Chunk{Hash: zeros, Offset: table.BlobSize(), Length: 40, Zero: true}
		if i%3 == 0 {
			c.Hash, c.Length, c.Zero = golden.Hash{1}, 400_000, false
		}
		if err := table.Append(golden.DefaultChunkSize, c); err != nil {
			b.Fatal(err)
		}
	}
	return table
}

// Planning is what the map does for a whole flash: every span claimed, every
// run of zeros, every chunk's state set.
func BenchmarkPlan(b *testing.B) {
	const all = 64 << 10 // 64 GiB
	table := sparseTable(b, all)
	b.SetBytes(table.DiskSize)
	b.ReportAllocs()
	for b.Loop() {
		m := New(table, func(i int) bool { return i == 0 || i == all-1 })
		for first, next := m.Work.ClaimZeros(256); first < next; first, next = m.Work.ClaimZeros(256) {
			for i := first; i < next; i++ {
				m.Work.Landed(i)
			}
		}
		for span := m.Work.Claim(b.Context(), SpanBytes); len(span) > 0; span = m.Work.Claim(b.Context(), SpanBytes) {
			for _, i := range span {
				m.Work.Landed(i)
			}
		}
	}
}
