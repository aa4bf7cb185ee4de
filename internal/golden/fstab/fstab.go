// Package fstab reads the table of file systems that an installed Linux mounts.
package fstab

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/printable"
)

// Mount is one line of fstab(5).
type Mount struct {
	Spec    string   // UUID=..., LABEL=..., PARTUUID=..., /dev/...; quotes removed
	File    string   // mount point, absolute; "none" or "swap" for swap space
	Type    string   // "auto" when the line does not say
	Options []string // "defaults" when the line does not say
	Pass    int      // order of fsck; 0 means never
}

// Parse reads the lines of an fstab. White space within a field is written in
// octal, as \040. A line that mount(8) and systemd would leave out is left out
// here too, and told; the others keep their meaning.
func Parse(data []byte) (mounts []Mount, odd []error) {
	if len(data) > maxSize {
		return nil, []error{fmt.Errorf("parse fstab: larger than %d bytes", maxSize)}
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		m, err := parseLine(fields)
		switch {
		case err != nil:
			if len(odd) < maxOdd {
				odd = append(odd, fmt.Errorf("line %d is left out, as mount leaves it out: %w", number, err))
			}
			continue
		case len(mounts) >= maxMounts:
			return mounts, append(odd, fmt.Errorf("more than %d mounts: the rest is left out", maxMounts))
		}
		mounts = append(mounts, m)
	}
	return mounts, odd
}

// Bounds on what an image can make gild hold.
const (
	maxSize   = 1 << 20 // bytes
	maxMounts = 1000
)

// maxOdd is how many lines are told; a file with more is no fstab.
const maxOdd = 8

// parseLine reads the fields of one line (libmount, mnt_table_parse_stream).
func parseLine(fields []string) (Mount, error) {
	if len(fields) < 2 {
		return Mount{}, errors.New("it has one field only")
	}
	m := Mount{Spec: unquote(unescape(fields[0])), File: unescape(fields[1]), Type: "auto", Options: []string{"defaults"}}
	if len(fields) > 2 {
		m.Type = fields[2]
	}
	if len(fields) > 3 {
		m.Options = strings.Split(unescape(fields[3]), ",")
	}
	for i, name := range []string{"dump frequency", "pass"} {
		if len(fields) <= 4+i || strings.HasPrefix(fields[4+i], "#") {
			break
		}
		n, err := strconv.Atoi(fields[4+i])
		if err != nil {
			return Mount{}, fmt.Errorf("%s %.20q is no number: are there blanks between its options?", name, printable.Drop(fields[4+i]))
		}
		if i == 1 {
			m.Pass = n
		}
	}
	return m, nil
}

// unescape replaces a backslash with three octal digits by the byte they name.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unquote takes the quotes off UUID="...", which libmount allows.
func unquote(s string) string {
	tag, value, ok := strings.Cut(s, "=")
	if ok && len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return tag + "=" + value[1:len(value)-1]
	}
	return s
}
