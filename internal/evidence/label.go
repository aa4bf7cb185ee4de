package evidence

import (
	"slices"
	"strings"
)

// UUID gives an SMBIOS UUID in any spelling in the one form that both of its
// byte orders have; empty for one that identifies nothing. SMBIOS before 2.6
// left the order open, so firmware, iPXE and Linux can spell the same UUID in
// both ways (SMBIOS 3.7, section 7.2.1).
func UUID(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if !IsUUID(s) {
		return ""
	}
	other := swapped(s)
	bare, bareOther := strings.ReplaceAll(s, "-", ""), strings.ReplaceAll(other, "-", "")
	if s = min(s, other); filler(bare) || filler(bareOther) || slices.Contains(commonUUIDs, s) {
		return ""
	}
	return s
}

// Serial gives the serial number of a machine in one form: lower case, no
// space around it; empty for one that identifies nothing.
func Serial(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	bare := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" .,-_/:#*?\x00", r) {
			return -1
		}
		return r
	}, s)
	if bare == "" || filler(bare) || slices.Contains(fillers, bare) {
		return ""
	}
	return s
}

// WWN gives a disk's world wide name in one form; empty for one that
// identifies nothing.
func WWN(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	digits := s
	for _, prefix := range []string{"0x", "naa.", "eui.", "uuid."} {
		digits = strings.TrimPrefix(digits, prefix)
	}
	if Serial(digits) == "" {
		return ""
	}
	return s
}

// IsUUID reports whether s, in lower case, has the form of a UUID.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// filler reports whether a value is a pattern and no number: one character or
// a pair of them over and over, or digits that count up or down.
func filler(s string) bool {
	for _, period := range []int{1, 2} {
		if len(s) >= 2*period && s[period:] == s[:len(s)-period] {
			return true
		}
	}
	return len(s) >= 5 && (counts(s, 1) || counts(s, -1))
}

// counts reports whether each digit follows the one before it by step, where 0
// follows 9.
func counts(s string, step int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i > 0 && (int(s[i-1]-'0')+step+10)%10 != int(s[i]-'0') {
			return false
		}
	}
	return true
}

// swapped gives a UUID with its first three fields in the other byte order.
func swapped(uuid string) string {
	b := []byte(uuid)
	for _, field := range [][2]int{{0, 8}, {9, 13}, {14, 18}} {
		f := b[field[0]:field[1]]
		slices.Reverse(f)
		for i := 0; i < len(f); i += 2 {
			f[i], f[i+1] = f[i+1], f[i]
		}
	}
	return string(b)
}
