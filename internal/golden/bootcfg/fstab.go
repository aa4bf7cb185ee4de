package bootcfg

import (
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

// Fstab reads the lines of an fstab. White space within a field is written in octal, as \040.
func Fstab(data []byte) ([]Mount, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("parse fstab: larger than %d bytes", maxConfig)
	}
	var mounts []Mount
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("parse fstab: line %d has one field only", number)
		}
		if len(mounts) >= maxEntries {
			return nil, fmt.Errorf("parse fstab: more than %d mounts", maxEntries)
		}
		m := Mount{Spec: unquote(unescape(fields[0])), File: unescape(fields[1]), Type: "auto", Options: []string{"defaults"}}
		if len(fields) > 2 {
			m.Type = fields[2]
		}
		if len(fields) > 3 {
			m.Options = strings.Split(unescape(fields[3]), ",")
		}
		if len(fields) > 5 && !strings.HasPrefix(fields[5], "#") {
			pass, err := strconv.Atoi(fields[5])
			if err != nil {
				return nil, fmt.Errorf("parse fstab: line %d: pass %q is no number", number, fields[5])
			}
			m.Pass = pass
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
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
