package pick

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxFile bounds one module or firmware file, decompressed, in bytes. The
// largest driver of a distribution's kernel that is taken has about 3 MiB;
// modules with debug symbols some 40 MiB.
const maxFile = 64 << 20

var errTooLarge = fmt.Errorf("larger than %d MiB", maxFile>>20)

// decompress reads all of r, whatever it is packed with: recognised by its
// first bytes, as a name may lie. Anything but gzip, xz and zstd is returned as
// it is. A truncated stream is an error.
func decompress(r io.Reader) ([]byte, error) {
	packed, err := readAll(r)
	if err != nil {
		return nil, err
	}
	var plain io.Reader
	switch {
	case bytes.HasPrefix(packed, []byte("\x1f\x8b")):
		plain, err = gzip.NewReader(bytes.NewReader(packed))
	case bytes.HasPrefix(packed, []byte("\xfd7zXZ\x00")):
		if err = checkXZEnd(packed); err == nil {
			plain, err = xz.NewReader(bytes.NewReader(packed))
		}
	case bytes.HasPrefix(packed, []byte("\x28\xb5\x2f\xfd")):
		var d *zstd.Decoder
		d, err = zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxFile))
		if err == nil {
			defer d.Close()
			plain = d
		}
	default:
		return packed, nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	data, err := readAll(plain)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("truncated: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return data, nil
}

// checkXZEnd checks the footer of the last xz stream (the .xz format, section
// 2.1.2). The reader takes a file that ends between two of its parts for a
// whole one; the footer is what such a file lacks.
func checkXZEnd(packed []byte) error {
	packed = bytes.TrimRight(packed, "\x00") // padding; no footer ends in it
	if len(packed) < 12 {
		return io.ErrUnexpectedEOF
	}
	footer := packed[len(packed)-12:]
	if string(footer[10:]) != "YZ" || crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errTooLarge
	}
	return data, err
}
