package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Compression is a way to pack an initramfs.
type Compression string

// The compressions of an initramfs. Almost every kernel knows gzip; zstd came
// with 5.9; and what is not packed at all every kernel reads.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
	None Compression = "none"
)

// window is how far zstd looks back, in bytes, and what the kernel must set
// aside to decompress.
const window = 8 << 20

// CompressionFor returns what a kernel can unpack. Its configuration knows:
// zstd or gzip, else nothing packed. Without one (nil) the release tells what
// is usual, and a release that is not known, or is empty, leaves gzip. An error
// says that the kernel takes no initramfs at all.
func CompressionFor(config []byte, release string) (Compression, error) {
	if config == nil {
		if atLeast(release, 5, 9) {
			return Zstd, nil
		}
		return Gzip, nil
	}
	has := func(line string) bool { return bytes.Contains(config, []byte("\n"+line+"\n")) }
	config = slices.Concat([]byte("\n"), config, []byte("\n"))
	switch {
	case has("# CONFIG_BLK_DEV_INITRD is not set"):
		return None, errors.New("the kernel takes no initramfs: CONFIG_BLK_DEV_INITRD is not set")
	case has("CONFIG_RD_ZSTD=y"):
		return Zstd, nil
	case has("# CONFIG_RD_GZIP is not set"):
		return None, nil
	}
	return Gzip, nil
}

// atLeast compares the first two numbers of a kernel release.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

// compress gives write a writer whose bytes reach w packed: one zstd frame with
// a checksum, or one gzip member without name or time.
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
	case None:
		packer = plain{w}
	default:
		err = fmt.Errorf("unknown compression %q", how)
	}
	if err != nil {
		return err
	}
	// The records' many small writes would each become a block of their own for
	// gzip's matcher.
	buffered := bufio.NewWriterSize(packer, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return packer.Close()
}

// plain packs nothing.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
