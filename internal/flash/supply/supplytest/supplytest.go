// Package supplytest is who gives chunks in tests.
package supplytest

import (
	"bytes"
	"io"

	"github.com/gild-dev/gild/internal/golden"
)

// Peers are several that have the chunks of Table in Blob, and send them
// without what lies between them, each only Most bytes at a time. Who asks is
// answered by the next of Names.
type Peers struct {
	Table *golden.Table
	Blob  []byte
	Names []string
	Most  int64
	Liar  string // spoils what it sends

	asked int
}

// Give answers as a source's Open does.
func (p *Peers) Give(span []int, skip int64) (body io.ReadCloser, from string) {
	from = p.Names[p.asked%len(p.Names)]
	p.asked++
	var frames []byte
	for _, i := range span {
		c := p.Table.Chunk(i)
		frames = append(frames, p.Blob[c.Offset:c.Offset+c.Length]...)
	}
	if from == p.Liar {
		frames[skip] ^= 1
	}
	return io.NopCloser(io.LimitReader(bytes.NewReader(frames[skip:]), p.Most)), from
}
