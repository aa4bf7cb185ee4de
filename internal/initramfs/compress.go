package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression is a way to pack an initramfs.
type Compression string

// The compressions of an initramfs. Every kernel that matters knows gzip; zstd came with 5.9.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
)

// window is how far zstd looks back, in bytes, and what the kernel must set aside to decompress.
const window = 8 << 20

// CompressionFor reads a kernel's configuration (/boot/config-RELEASE) and returns what that kernel
// can unpack: zstd, unless the configuration says that CONFIG_RD_ZSTD is not set or, being of a kernel
// from before 5.9, does not know it. No configuration at all (nil) means zstd.
func CompressionFor(config []byte) Compression {
	if config == nil {
		return Zstd
	}
	for line := range bytes.Lines(config) {
		if bytes.Equal(bytes.TrimSpace(line), []byte("CONFIG_RD_ZSTD=y")) {
			return Zstd
		}
	}
	return Gzip
}

// compress gives write a writer whose bytes reach w packed: one zstd frame with a checksum, or one gzip
// member without name or time.
func compress(w io.Writer, how Compression, write func(io.Writer) error) error {
	var packer io.WriteCloser
	var err error
	switch how {
	case Zstd:
		// One encoder at a time: how work is split must not reach the bytes.
		packer, err = zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
			zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	case Gzip:
		packer, err = gzip.NewWriterLevel(w, gzip.BestCompression)
	default:
		err = fmt.Errorf("unknown compression %q", how)
	}
	if err != nil {
		return err
	}
	// The records' many small writes would each become a block of their own for gzip's matcher.
	buffered := bufio.NewWriterSize(packer, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return packer.Close()
}
