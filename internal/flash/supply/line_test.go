package supply

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/flash/supply/supplytest"
	"github.com/gild-dev/gild/internal/golden"
)

// opens counts how often a source is asked, and has each connection end with
// its context.
type opens struct {
	blob  []byte
	count atomic.Int64
}

func (o *opens) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	o.count.Add(1)
	return io.NopCloser(&until{ctx, bytes.NewReader(o.blob[off : off+length])}), nil
}

type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// A connection that nobody reads from is not silent: its bytes wait for a slow
// disk, and to drop it is to fetch them twice.
func TestSlowReaderKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &opens{blob: bytes.Repeat([]byte("frame"), 100)}
		table := framesOf(t, 100, 100, 100, 100, 100)
		var wire atomic.Int64
		p := New(Blob{source, table, "test"}, table, Retry{Stall: 3 * time.Second}, &wire)
		r := p.Open(t.Context(), []int{0, 1, 2, 3, 4})
		defer r.Close()
		for range table.Len() {
			if err := r.Next(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := source.count.Load(); n != 1 {
			t.Errorf("%d connections for a reader that takes its time; want 1", n)
		}
	})
}

// framesOf is a table of chunks whose frames have these lengths.
func framesOf(t *testing.T, lengths ...int64) *golden.Table {
	t.Helper()
	table, err := golden.NewTable(golden.MinChunkSize, golden.BLAKE3)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range lengths {
		if err := table.Append(table.ChunkSize, golden.Chunk{Hash: golden.Hash{byte(i + 1)}, Offset: table.BlobSize(), Length: n}); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// peers are a source of what several have.
type peers struct{ supplytest.Peers }

func (p *peers) Open(_ context.Context, span []int, skip int64) (Answer, error) {
	body, from := p.Give(span, skip)
	return Answer{Body: body, From: from}, nil
}

// Frames come from whoever has them, with gaps between them or without, and it
// is known who sent what.
func TestFramesFromSeveralGivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := framesOf(t, 10, 200, 30, 7, 50)
		blob := bytes.Repeat([]byte("some frames "), 100)[:table.BlobSize()]
		span := []int{0, 2, 4}
		for name, source := range map[string]Source{
			"a blob": Blob{&opens{blob: blob}, table, "server"},
			"peers":  &peers{supplytest.Peers{Table: table, Blob: blob, Names: []string{"a", "b", "c"}, Most: 25}},
		} {
			var wire atomic.Int64
			p := New(source, table, Retry{}, &wire)
			r := p.Open(t.Context(), span)
			var from []string
			for _, i := range span {
				c := table.Chunk(i)
				frame := make([]byte, c.Length)
				if err := r.Next(frame); err != nil || !bytes.Equal(frame, blob[c.Offset:c.Offset+c.Length]) {
					t.Fatalf("%s: chunk %d: %v, or other bytes", name, i, err)
				}
				from = append(from, r.From)
			}
			_ = r.Close()
			var sum int64
			for _, n := range p.Givers() {
				sum += n
			}
			if sum != wire.Load() {
				t.Errorf("%s: the givers %v sent %d bytes, the wire carried %d", name, p.Givers(), sum, wire.Load())
			}
			want, sent := []string{"server", "server", "server"}, map[string]int64{"server": 10 + 200 + 30 + 7 + 50}
			if name == "peers" {
				want, sent = []string{"a", "a and b", "b and c and a"}, map[string]int64{"a": 25 + 15, "b": 25, "c": 25}
			}
			if !slices.Equal(from, want) || !maps.Equal(p.Givers(), sent) {
				t.Errorf("%s: from %q, in all %v; want %q, %v", name, from, p.Givers(), want, sent)
			}
		}
	})
}
