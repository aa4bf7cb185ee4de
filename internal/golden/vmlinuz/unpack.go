package vmlinuz

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/gild-dev/gild/internal/golden/lz4"
)

// maxConfig bounds a configuration, in bytes.
const maxConfig = 1 << 20

// ErrPacked is wrapped when a kernel's packing is not read here.
var ErrPacked = errors.New("packed in a way that is not read")

// lzoMagic begins what lzop packs.
const lzoMagic = "\x89LZO\x00"

// packings are what a kernel may be packed with (lib/decompress.c in the
// kernel). LZO is not read, nor xz with a filter for x86 code.
var packings = []struct {
	magic string
	open  func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.ReaderConfig{SingleStream: true}.NewReader(r) }},
	{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxKernel))
	}},
	{"BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\x5d\x00\x00", func(r io.Reader) (io.Reader, error) { return lzma.NewReader(r) }},
	{lz4.LegacyMagic, func(r io.Reader) (io.Reader, error) { return lz4.NewLegacyReader(r), nil }},
}

// lenient ends where its reader fails: the kernel's build appends the size to
// packed data, which a decoder takes for damage, and who only looks for a mark
// needs no proof that all is whole.
type lenient struct{ r io.Reader }

func (l lenient) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// unpack reads what is packed in p, recognised by its first bytes, up to
// maxKernel bytes of it.
func unpack(p []byte) (io.Reader, error) {
	for _, k := range packings {
		if bytes.HasPrefix(p, []byte(k.magic)) {
			r, err := k.open(bytes.NewReader(p))
			if err != nil {
				return nil, fmt.Errorf("unpack kernel: %w", err)
			}
			if g, ok := r.(*gzip.Reader); ok {
				g.Multistream(false)
			}
			return io.LimitReader(r, maxKernel), nil
		}
	}
	return nil, ErrPacked
}

// UnpackImage gives an arm64 kernel Image that is packed as a whole, which
// neither UEFI nor an older iPXE starts, as the Image itself. Any other kernel
// comes back as it is.
func UnpackImage(kernel []byte) ([]byte, error) {
	r, err := unpack(kernel)
	if err != nil {
		return kernel, nil //nolint:nilerr // not packed
	}
	plain, err := io.ReadAll(r)
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpack kernel: %w", err)
	case len(plain) == maxKernel:
		return nil, fmt.Errorf("unpack kernel: more than %d MiB", maxKernel>>20)
	case !isARM64(plain):
		return kernel, nil
	}
	return plain, nil
}

func isARM64(head []byte) bool { return len(head) >= 64 && string(head[0x38:0x3c]) == "ARM\x64" }

// payload is the packed part of a kernel: of an x86 bzImage from boot protocol
// 2.08 on, and of an EFI zboot image. Its length when it is unpacked is one of
// the sizes, which the build appends to what it packs (gzip has it of itself):
// an x86 kernel counts it as payload and zboot may not.
func payload(kernel []byte) (packed []byte, sizes [2]uint32) {
	var at, size uint64
	switch {
	case len(kernel) >= 0x250 && string(kernel[0x202:0x206]) == "HdrS" && binary.LittleEndian.Uint16(kernel[0x206:]) >= 0x208:
		sectors := uint64(kernel[0x1f1])
		if sectors == 0 {
			sectors = 4 // Documentation/arch/x86/boot.rst
		}
		at = (sectors+1)*512 + uint64(binary.LittleEndian.Uint32(kernel[0x248:]))
		size = uint64(binary.LittleEndian.Uint32(kernel[0x24c:]))
	case len(kernel) >= 64 && string(kernel[4:8]) == "zimg":
		at, size = uint64(binary.LittleEndian.Uint32(kernel[8:])), uint64(binary.LittleEndian.Uint32(kernel[12:]))
	default:
		return nil, sizes
	}
	if size < 4 || at > uint64(len(kernel)) || size > uint64(len(kernel))-at {
		return nil, sizes
	}
	sizes[0] = binary.LittleEndian.Uint32(kernel[at+size-4:])
	if behind := kernel[at+size:]; len(behind) >= 4 {
		sizes[1] = binary.LittleEndian.Uint32(behind)
	}
	return kernel[at : at+size], sizes
}

// Config gives the configuration that a kernel carries in itself
// (CONFIG_IKCONFIG), or nothing where it has none. It fails with [ErrPacked]
// where that cannot be told.
func Config(kernel []byte) ([]byte, error) {
	packed, sizes := payload(kernel)
	if packed == nil {
		return ikconfig(unpackWhole(kernel))
	}
	r, err := unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPacked, err)
	}
	plain, err := io.ReadAll(lenient{r})
	if err != nil {
		return nil, err
	}
	config, err := ikconfig(plain, nil)
	if n := uint32(len(plain)); config == nil && err == nil && (n == 0 || n != sizes[0] && n != sizes[1]) {
		return nil, fmt.Errorf("%w: it ends early, after %d bytes", ErrPacked, len(plain))
	}
	return config, err
}

// unpackWhole gives what a file is that may be packed as a whole.
func unpackWhole(kernel []byte) ([]byte, error) {
	r, err := unpack(kernel)
	switch {
	case bytes.HasPrefix(kernel, []byte(lzoMagic)):
		return nil, fmt.Errorf("%w: LZO", ErrPacked)
	case err != nil:
		return kernel, nil //nolint:nilerr // not packed
	}
	return io.ReadAll(lenient{r})
}

// ikconfig searches for the gzip member between two marks (kernel/configs.c).
// It passes an error on.
func ikconfig(plain []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	_, rest, ok := bytes.Cut(plain, []byte("IKCFG_ST\x1f\x8b"))
	if !ok {
		return nil, nil
	}
	z, err := gzip.NewReader(io.MultiReader(bytes.NewReader([]byte("\x1f\x8b")), bytes.NewReader(rest)))
	if err != nil {
		return nil, fmt.Errorf("%w: its configuration: %w", ErrPacked, err)
	}
	z.Multistream(false)
	config, err := io.ReadAll(io.LimitReader(z, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("%w: its configuration: %w", ErrPacked, err)
	}
	return config, nil
}
