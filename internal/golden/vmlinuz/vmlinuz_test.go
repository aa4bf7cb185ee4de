package vmlinuz_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/vmlinuz"
	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
)

// armImage has the magic of an arm64 Image, and the banner behind the format
// that looks like it.
func armImage(release string) []byte {
	b := make([]byte, 600<<10)
	copy(b[0x38:], "ARM\x64")
	copy(b[1000:], "Linux version %s (%s)")
	copy(b[256<<10-20:], "Linux version "+release+" (debian-kernel)") // across the window's edge
	return b
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func TestRelease(t *testing.T) {
	zboot := make([]byte, 64)
	copy(zboot, "MZ\x00\x00zimg")
	zboot[8] = 64
	copy(zboot[24:], "gzip")
	payload := gzipped(armImage("6.8.5-301.fc40.aarch64"))
	binary.LittleEndian.PutUint32(zboot[12:], uint32(len(payload)))
	for _, test := range []struct {
		name          string
		image         []byte
		release, arch string
		ok            bool
	}{
		{"bzImage", vmlinuztest.BzImage("6.1.0-18-amd64 (debian-kernel@lists.debian.org) #1 SMP"), "6.1.0-18-amd64", "amd64", true},
		{"Image", armImage("6.1.0-18-arm64"), "6.1.0-18-arm64", "arm64", true},
		{"gzip", gzipped(armImage("6.1.0-18-arm64")), "6.1.0-18-arm64", "arm64", true},
		{"zboot", append(zboot, payload...), "6.8.5-301.fc40.aarch64", "arm64", true},
		{"path", vmlinuztest.BzImage("../../etc"), "", "amd64", false},
		{"empty", nil, "", "", false},
		{"text", []byte(strings.Repeat("x", 4096)), "", "", false},
	} {
		release, arch, err := vmlinuz.Release(bytes.NewReader(test.image))
		if release != test.release || arch != test.arch || (err == nil) != test.ok {
			t.Errorf("Release(%s) = %q, %q, %v; want %q, %q", test.name, release, arch, err, test.release, test.arch)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add(vmlinuztest.BzImage("6.1.0")[:0x900])
	f.Add(gzipped(armImage("6.1.0")))
	f.Fuzz(func(t *testing.T, data []byte) {
		release, _, err := vmlinuz.Release(bytes.NewReader(data))
		if strings.ContainsAny(release, "/\x00 ") || err != nil && release != "" {
			t.Fatalf("Release() = %q, %v", release, err)
		}
	})
}
