package httpd

import (
	"fmt"
	"strings"
)

// maxCmdline is the longest command line in bytes: x86 and arm64 cut what is
// longer than 2047 (COMMAND_LINE_SIZE) without a word, and iPXE adds the
// names of the initrds.
const maxCmdline = 2000

// cmdlineChars are the characters that a word may have. iPXE has no quoting,
// so "$", "{", "}", "&", "|", ";" and "#" cannot be passed through a script.
const cmdlineChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" +
	"-._~:/?%=+,@!*'()[]\"<>^"

// KernelCmdline joins the words that gild needs and the image's own, which
// keep their order. From the image it drops what would tell the agent
// something (gild.*), what takes its place as the first program (rdinit=) and
// what names files of another boot loader. rescue asks for a shell.
func KernelCmdline(image, server string, rescue bool) (string, error) {
	words := []string{"gild.server=" + server}
	if rescue {
		words = append(words, "gild.rescue")
	}
	for _, w := range strings.Fields(image) {
		if !foreign(w) {
			words = append(words, w)
		}
	}
	for _, w := range words {
		for _, c := range []byte(w) {
			if strings.IndexByte(cmdlineChars, c) < 0 {
				return "", fmt.Errorf("kernel command line: %.60q cannot be passed through a boot script because of %q; give the image another with --cmdline", w, c)
			}
		}
	}
	line := strings.Join(words, " ")
	if len(line) > maxCmdline {
		return "", fmt.Errorf("kernel command line has %d bytes, at most %d reach a kernel; give the image a shorter one with --cmdline", len(line), maxCmdline)
	}
	return line, nil
}

func foreign(word string) bool {
	for _, p := range []string{"gild.", "rdinit=", "initrd=", "BOOT_IMAGE="} {
		if strings.HasPrefix(word, p) {
			return true
		}
	}
	return false
}
