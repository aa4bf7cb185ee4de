package lz4_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/golden/lz4"
)

// The program lz4 packs what kernels are packed with.
func TestLegacy(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("lz4"); err != nil {
		t.Skip("lz4 is not installed")
	}
	plain := make([]byte, 0, 20<<20) // more than two blocks
	for i := 0; len(plain) < cap(plain); i++ {
		plain = append(plain, byte(i), byte(i>>8), byte(i>>16), byte(i*i>>4), 'k')
	}
	for _, size := range []int{1, 4096, 8 << 20, 8<<20 + 1, len(plain)} {
		cmd := exec.CommandContext(t.Context(), "lz4", "-l", "-c")
		cmd.Stdin = bytes.NewReader(plain[:size])
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(lz4.NewLegacyReader(bytes.NewReader(packed))); err != nil || !bytes.Equal(got, plain[:size]) {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
		twice, err := io.ReadAll(lz4.NewLegacyReader(bytes.NewReader(slices.Concat(packed, packed))))
		if err != nil || !bytes.Equal(twice, slices.Concat(plain[:size], plain[:size])) {
			t.Errorf("%d bytes in each of two frames: %d, %v", size, len(twice), err)
		}
		if _, err := io.ReadAll(lz4.NewLegacyReader(bytes.NewReader(packed[:len(packed)-1]))); err == nil {
			t.Errorf("%d bytes without the last one are taken", size)
		}
	}
}

// FuzzLegacy: what is read does not depend on the pieces it comes in.
func FuzzLegacy(f *testing.F) {
	f.Add([]byte(lz4.LegacyMagic + "\x09\x00\x00\x00\x50hello\x05\x00\x10"))
	f.Add([]byte(lz4.LegacyMagic + "\x02\x00\x00\x00\x10a" + lz4.LegacyMagic + "\x02\x00\x00\x00\x10b\x00\x00\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		const most = 64 << 10
		got, err := io.ReadAll(io.LimitReader(lz4.NewLegacyReader(bytes.NewReader(b)), most))
		if err == nil && len(got) == most {
			return
		}
		again := make([]byte, 0, len(got))
		z, other, buf := lz4.NewLegacyReader(bytes.NewReader(b)), error(nil), make([]byte, 61)
		for other == nil {
			var n int
			n, other = z.Read(buf)
			again = append(again, buf[:n]...)
		}
		if !bytes.Equal(got, again) || (err == nil) != errors.Is(other, io.EOF) {
			t.Errorf("%d bytes, %v; in pieces %d, %v", len(got), err, len(again), other)
		}
	})
}

// FuzzBlock reaches what the checksum of a frame's header keeps bytes from.
func FuzzBlock(f *testing.F) {
	f.Add([]byte("\x50hello\x05\x00\x10!"), uint16(64))
	f.Add([]byte("\xf0\xff\x00\x1f\x01\x00\xff\x00"), uint16(4096))
	f.Fuzz(func(t *testing.T, b []byte, limit uint16) {
		if len(b) > 4<<10 {
			return
		}
		out, err := lz4.Block(nil, b, int(limit))
		if err == nil && len(out) > int(limit) || err != nil && !errors.Is(err, lz4.ErrDamaged) {
			t.Errorf("%d bytes of at most %d, %v", len(out), limit, err)
		}
	})
}
