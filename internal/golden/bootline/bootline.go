// Package bootline is what a kernel command line may be that a boot script
// hands to a kernel.
//
// The server holds what it serves to it; whoever stores an image can say
// beforehand what no machine will be given.
package bootline

import (
	"fmt"
	"strings"
)

// KernelMax is COMMAND_LINE_SIZE of x86 and arm64 without the final NUL, in
// bytes: the kernel cuts a longer line without a word, which could drop a root=
// at its end.
const KernelMax = 2047

// Max is the longest command line in bytes: to it iPXE adds the names of the
// initrds, and KernelMax holds for both.
const Max = 2000

// Own is what of Max is left to the server's own words, in bytes.
const Own = 200

// Chars are the characters that a word may have. iPXE has no quoting, so "$",
// "{", "}", "&", "|", ";" and "#" cannot be passed through a script, and a
// backslash may join two of its lines.
const Chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" +
	"-._~:/?%=+,@!*'()[]\"<>^"

// Words are those of an image's command line that are passed on to the kernel,
// in their order: without what would tell the agent something (gild.*), what
// takes its place as the first program (rdinit=) and what names files of
// another boot loader.
func Words(image string) []string {
	var words []string
	for _, w := range strings.Fields(image) {
		if !foreign(w) {
			words = append(words, w)
		}
	}
	return words
}

func foreign(word string) bool {
	for _, p := range []string{"gild.", "rdinit=", "initrd=", "BOOT_IMAGE="} {
		if strings.HasPrefix(word, p) {
			return true
		}
	}
	return false
}

// Join makes the line of the words, or says why it cannot reach a kernel.
func Join(words []string) (string, error) {
	for _, w := range words {
		for _, c := range []byte(w) {
			if strings.IndexByte(Chars, c) < 0 {
				return "",
					fmt.Errorf("kernel command line: %.60q cannot be passed through a boot script because of %q; give the image another with --cmdline", w,
						c)
			}
		}
	}
	line := strings.Join(words, " ")
	if len(line) > Max {
		return "", fmt.Errorf("kernel command line has %d bytes, at most %d reach a kernel; give the image a shorter one with --cmdline",
			len(line), Max)
	}
	return line, nil
}

// Check says why an image's command line would be refused when a machine is to
// be booted with it.
func Check(image string) error {
	line, err := Join(Words(image))
	if err == nil && len(line) > Max-Own {
		return fmt.Errorf("kernel command line has %d bytes, at most %d reach a kernel beside what the server adds; give the image a "+
			"shorter one with --cmdline", len(line), Max-Own)
	}
	return err
}
