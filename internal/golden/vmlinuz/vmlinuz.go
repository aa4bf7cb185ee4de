// Package vmlinuz reads the files of kernels.
package vmlinuz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxKernel bounds what is searched, and so how far a compressed kernel is
// unpacked.
const maxKernel = 256 << 20

// ErrNotKernel is wrapped when a file is no Linux kernel that [Release] knows.
var ErrNotKernel = errors.New("not a Linux kernel")

// Release tells what uname -r would say, and the architecture as GOARCH has it
// ("amd64", "386", "arm64"). It reads the x86 setup header, and the banner in
// an arm64 Image, plain, packed as a whole or as an EFI zboot image. The
// release is empty, without an error, where the file hides it (a packing that
// is not read): its name and /lib/modules know then.
func Release(r io.ReaderAt) (release, arch string, err error) {
	head := make([]byte, 0x250)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", "", fmt.Errorf("read kernel: %w", err)
	}
	head = head[:n]
	switch {
	case len(head) >= 0x238 && string(head[0x202:0x206]) == "HdrS":
		return x86Release(r, head)
	case isARM64(head):
		release, err := banner(io.NewSectionReader(r, 0, maxKernel))
		return release, "arm64", err
	case len(head) >= 64 && string(head[4:8]) == "zimg":
		return zbootRelease(r, head)
	}
	return packedRelease(r, 0, maxKernel)
}

// x86Release follows the kernel_version pointer
// (Documentation/arch/x86/boot.rst).
func x86Release(r io.ReaderAt, head []byte) (release, arch string, err error) {
	arch = "386"
	if protocol := binary.LittleEndian.Uint16(head[0x206:]); protocol >= 0x20c && head[0x236]&1 != 0 {
		arch = "amd64"
	}
	at := binary.LittleEndian.Uint16(head[0x20e:])
	if at == 0 {
		return "", arch, nil
	}
	b := make([]byte, 256)
	n, err := r.ReadAt(b, int64(at)+0x200)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", "", fmt.Errorf("read kernel version: %w", err)
	}
	release, err = releaseWord(b[:n])
	return release, arch, err
}

// zbootRelease reads a compressed EFI image (include/linux/efi.h, struct
// linux_efi_zboot_header).
func zbootRelease(r io.ReaderAt, head []byte) (release, arch string, err error) {
	at, size := binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
	method, _, _ := bytes.Cut(head[24:56], []byte{0})
	if release, arch, err := packedRelease(r, int64(at), int64(size)); err == nil {
		return release, arch, nil
	}
	// The machine of the PE header behind it says for what.
	arch = map[uint16]string{0xaa64: "arm64", 0x8664: "amd64"}[peMachine(r, head)]
	if arch == "" {
		return "", "", fmt.Errorf("compressed with %q: %w", method, ErrNotKernel)
	}
	return "", arch, nil
}

func peMachine(r io.ReaderAt, head []byte) uint16 {
	var b [6]byte
	at := binary.LittleEndian.Uint32(head[0x3c:])
	if _, err := r.ReadAt(b[:], int64(at)); err != nil || string(b[:4]) != "PE\x00\x00" {
		return 0
	}
	return binary.LittleEndian.Uint16(b[4:])
}

// packedRelease reads an arm64 Image that is packed as a whole.
func packedRelease(r io.ReaderAt, at, size int64) (release, arch string, err error) {
	packed, err := io.ReadAll(io.NewSectionReader(r, at, min(size, maxKernel)))
	if err != nil {
		return "", "", fmt.Errorf("read kernel: %w", err)
	}
	plain, err := unpack(packed)
	if errors.Is(err, ErrPacked) {
		return "", "", ErrNotKernel
	}
	if err != nil {
		return "", "", err
	}
	head := make([]byte, 64)
	if _, err := io.ReadFull(plain, head); err != nil {
		return "", "", fmt.Errorf("unpack kernel: %w", err)
	}
	if !isARM64(head) {
		return "", "", fmt.Errorf("unpacked: %w", ErrNotKernel)
	}
	release, err = banner(lenient{plain})
	return release, "arm64", err
}

// banner searches for the line that the kernel prints first (init/version.c).
// The same words stand elsewhere as a format, so a number has to follow.
func banner(r io.Reader) (string, error) {
	const start, window, longest = "Linux version ", 256 << 10, 256
	b := make([]byte, 0, window)
	for {
		n, err := io.ReadFull(r, b[len(b):cap(b)])
		b = b[:len(b)+n]
		atEnd := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !atEnd {
			return "", fmt.Errorf("search kernel version: %w", err)
		}
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(start))
			if i < 0 || !atEnd && len(b)-at-i < longest {
				break
			}
			at += i + len(start)
			if at < len(b) && digit(b[at]) {
				return releaseWord(b[at:min(len(b), at+longest)])
			}
		}
		if atEnd {
			return "", nil
		}
		b = b[:copy(b, b[len(b)-longest:])]
	}
}

// releaseWord takes the first word, which becomes the name of a directory.
func releaseWord(b []byte) (string, error) {
	if i := bytes.IndexAny(b, " \x00\n"); i >= 0 {
		b = b[:i]
	}
	release := string(b)
	if release == "" || len(release) > 64 || !digit(release[0]) || strings.Trim(release,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+~") != "" {
		return "", fmt.Errorf("kernel version %.64q: %w", release, ErrNotKernel)
	}
	return release, nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
