package vmlinuz_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/vmlinuz"
)

// pack gives p to a foreign packer.
func pack(t testing.TB, p []byte, program string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

// image is an arm64 Image that tells its release and carries its configuration.
func image(release, config string) []byte {
	b := make([]byte, 64<<10)
	copy(b, "MZ")
	copy(b[0x38:], "ARM\x64")
	copy(b[4096:], "Linux version "+release+" (build@host) #1 SMP\x00")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = io.WriteString(w, config)
	_ = w.Close()
	copy(b[8192:], "IKCFG_ST"+z.String()+"IKCFG_ED")
	return b
}

// zboot wraps a packed Image as the kernel's EFI stub does
// (include/linux/efi.h).
func zboot(packed []byte, method string) []byte {
	b := make([]byte, 1024, 1024+len(packed))
	copy(b, "MZ")
	copy(b[4:], "zimg")
	binary.LittleEndian.PutUint32(b[8:], 1024)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(packed)))
	copy(b[24:56], method)
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00\x64\xaa")
	return append(b, packed...)
}

// packedBzImage has its kernel packed behind the setup sectors.
func packedBzImage(packed []byte) []byte {
	b := make([]byte, 2*512, 2*512+16+len(packed))
	b[0x1f1] = 1
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	b[0x236] = 1
	binary.LittleEndian.PutUint32(b[0x248:], 16)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(packed)))
	return append(append(b, make([]byte, 16)...), packed...)
}

// A kernel tells its release and its configuration whatever it is packed with,
// and one that firmware cannot start is unpacked.
func TestPackedKernels(t *testing.T) {
	const release, config = "6.1.0-18-arm64", "CONFIG_RD_GZIP=y\n"
	plain := image(release, config)
	packers := map[string][]string{
		"gzip": {"gzip"}, "xz": {"xz", "--check=crc32"}, "zstd": {"zstd", "-q"}, "lzma": {"xz", "--format=lzma"}, "bzip2": {"bzip2"},
		"lz4": {"lz4", "-l", "-c"},
	}
	for name, args := range packers {
		t.Run(name, func(t *testing.T) {
			whole := pack(t, plain, args[0], args[1:]...)
			packed := append(slices.Clone(whole), 0, 0, 1, 0) // the size, as the kernel's build appends it
			for form, k := range map[string][]byte{"zboot": zboot(packed, name), "as a whole": whole} {
				if got, arch, err := vmlinuz.Release(bytes.NewReader(k)); got != release || arch != "arm64" || err != nil {
					t.Errorf("%s: Release() = %q, %q, %v; want %q", form, got, arch, err, release)
				}
				if got, err := vmlinuz.Config(k); string(got) != config || err != nil {
					t.Errorf("%s: Config() = %q, %v; want %q", form, got, err, config)
				}
				want := plain
				if form == "zboot" {
					want = k
				}
				if got, err := vmlinuz.UnpackImage(k); !bytes.Equal(got, want) || err != nil {
					t.Errorf("%s: UnpackImage() gives %d bytes, %v; want %d", form, len(got), err, len(want))
				}
			}
			if got, err := vmlinuz.Config(packedBzImage(packed)); string(got) != config || err != nil {
				t.Errorf("bzImage: Config() = %q, %v; want %q", got, err, config)
			}
		})
	}
	if got, arch, err := vmlinuz.Release(bytes.NewReader(zboot([]byte("\x89LZO\x00\r\n\x1a\n"), "lzo"))); got != "" || arch != "arm64" ||
		err != nil {
		t.Errorf("a packing that is not read: Release() = %q, %q, %v; want no release", got, arch, err)
	}
	if got, err := vmlinuz.Config(plain); string(got) != config || err != nil {
		t.Errorf("plain: Config() = %q, %v; want %q", got, err, config)
	}
}

// A kernel without a configuration says so; one of which nobody can see whether
// it has one does not.
func TestConfigIsThereOrNotOrUnknown(t *testing.T) {
	t.Parallel()
	bare := make([]byte, 64<<10)
	size := []byte{0, 0, 1, 0} // as the kernel's build appends it
	zst := pack(t, bare, "zstd", "-q")
	filtered := slices.Concat(pack(t, bare, "xz", "--check=crc32", "--x86", "--lzma2"), size)
	lzo := []byte("\x89LZO\x00\r\n\x1a\n\x00\x00\x01\x00")
	for name, tt := range map[string]struct {
		kernel []byte
		known  bool
	}{
		"none":                     {packedBzImage(slices.Concat(zst, size)), true},
		"none, in LZ4":             {packedBzImage(slices.Concat(pack(t, bare, "lz4", "-l", "-c"), size)), true},
		"none, in a zboot image":   {append(zboot(zst, "zstd"), size...), true},
		"none, in a plain Image":   {bare, true},
		"cut":                      {packedBzImage(slices.Concat(zst[:len(zst)/2], size)), false},
		"longer than it says":      {packedBzImage(slices.Concat(zst, []byte{0, 1, 1, 0})), false},
		"LZO":                      {packedBzImage(lzo), false},
		"LZO, in a zboot image":    {zboot(lzo, "lzo"), false},
		"LZO, as a whole":          {lzo, false},
		"xz with a filter":         {packedBzImage(filtered), false},
		"a damaged configuration":  {append(slices.Clone(bare), "IKCFG_ST\x1f\x8b\x08\x00"...), false},
		"a payload behind the end": {zboot(zst, "zstd")[:1030], true}, // which firmware does not start either
	} {
		config, err := vmlinuz.Config(tt.kernel)
		if (err == nil) != tt.known || err != nil && !errors.Is(err, vmlinuz.ErrPacked) || config != nil {
			t.Errorf("%s: Config() = %q, %v; want that it is known: %v", name, config, err, tt.known)
		}
	}
}

func FuzzKernel(f *testing.F) {
	plain := image("6.1.0", "CONFIG_RD_GZIP=y\n")[:16<<10]
	f.Add(plain)
	f.Add(zboot([]byte("\x28\xb5\x2f\xfd"), "zstd"))
	f.Add(packedBzImage([]byte("\x1f\x8b\x08")))
	f.Fuzz(func(t *testing.T, k []byte) {
		if release, _, err := vmlinuz.Release(bytes.NewReader(k)); err == nil && strings.ContainsAny(release, "/ \n") {
			t.Errorf("release %q", release)
		}
		if config, err := vmlinuz.Config(k); err != nil && config != nil {
			t.Errorf("Config() = %q and %v", config, err)
		}
		if _, err := vmlinuz.UnpackImage(k); err != nil && err.Error() == "" {
			t.Error("an error that says nothing")
		}
	})
}
