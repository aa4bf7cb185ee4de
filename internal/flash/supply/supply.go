// Package supply brings the chunks of an image from whoever has them.
package supply

import (
	"context"
	"io"

	"github.com/gild-dev/gild/internal/golden"
)

// Source gives chunks of the image as they are stored, whoever has them.
type Source interface {
	// Open asks for the frames of these chunks, at least one, in ascending
	// order; of the first frame only from byte skip on. It may fail at any time,
	// and is asked again. An error with a method Permanent() bool that returns
	// true is one that asking again cannot mend.
	Open(ctx context.Context, span []int, skip int64) (Answer, error)
}

// Answer is what one giver sends upon one request.
type Answer struct {
	// Body has the bytes that were asked for. It may have fewer of them, or
	// fail, at any time: the engine asks again from where it got to. It must
	// not have other bytes, but nothing relies on that: every chunk is hashed.
	// The engine closes it.
	Body io.ReadCloser
	// Stretch says that Body is one stretch of the disk blob: what lies between
	// two of the frames comes with them, and is dropped.
	Stretch bool
	// From names the giver.
	From string
}

// Ranges gives bytes of the image's disk blob.
type Ranges interface {
	// ReadRange is to Source.Open as bytes are to chunks.
	ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error)
}

// Blob is a source that has the whole of the disk blob.
type Blob struct {
	Ranges
	Table *golden.Table
	Name  string // of whoever has it
}

// Open implements Source.
func (b Blob) Open(ctx context.Context, span []int, skip int64) (Answer, error) {
	first, last := b.Table.Chunk(span[0]), b.Table.Chunk(span[len(span)-1])
	start := first.Offset + skip
	body, err := b.ReadRange(ctx, start, last.Offset+last.Length-start)
	return Answer{Body: body, Stretch: true, From: b.Name}, err
}
