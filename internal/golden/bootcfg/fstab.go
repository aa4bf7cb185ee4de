package bootcfg

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Mount is one line of fstab(5).
type Mount struct {
	Spec    string   // UUID=..., LABEL=..., PARTUUID=..., /dev/...; quotes removed
	File    string   // mount point, absolute; "none" or "swap" for swap space
	Type    string   // "auto" when the line does not say
	Options []string // "defaults" when the line does not say
	Pass    int      // order of fsck; 0 means never
}

// Fstab reads the lines of an fstab. White space within a field is written in octal, as \040. A line that mount(8) and
// systemd would leave out is left out here too, and told; the others keep their meaning.
func Fstab(data []byte) (mounts []Mount, odd []error) {
	if len(data) > maxConfig {
		return nil, []error{fmt.Errorf("parse fstab: larger than %d bytes", maxConfig)}
	}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		m, err := fstabLine(fields)
		switch {
		case err != nil:
			if len(odd) < maxOdd {
				odd = append(odd, fmt.Errorf("line %d is left out, as mount leaves it out: %w", number, err))
			}
			continue
		case len(mounts) >= maxEntries:
			return mounts, append(odd, fmt.Errorf("more than %d mounts: the rest is left out", maxEntries))
		}
		mounts = append(mounts, m)
	}
	return mounts, odd
}

// maxOdd is how many lines are told; a file with more is no fstab.
const maxOdd = 8

// fstabLine reads the fields of one line (libmount, mnt_table_parse_stream).
func fstabLine(fields []string) (Mount, error) {
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
			return Mount{}, fmt.Errorf("%s %.20q is no number: are there blanks between its options?", name, printableTitle(fields[4+i]))
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
