package source

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Unpacked decompresses a stream that is a part of something else, such as of
// a package: gzip, xz or zstd by its first bytes, anything else as it is. What
// is cut off is an error. The caller closes it.
func Unpacked(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	packed := bufio.NewReaderSize(r, 64<<10)
	first, err := packed.Peek(6)
	if err != nil && len(first) == 0 {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(first, []byte("\x1f\x8b")):
		return gzip.NewReader(packed)
	case bytes.Equal(first, []byte("\xfd7zXZ\x00")):
		return newXZ(ctx, packed, Options{})
	case bytes.HasPrefix(first, []byte("\x28\xb5\x2f\xfd")):
		return newZstd(packed)
	}
	return io.NopCloser(packed), nil
}
