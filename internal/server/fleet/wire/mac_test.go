package wire

import (
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	const want = "52:54:00:ab:cd:ef"
	for _, s := range []string{
		"52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "5254.00ab.cdef", "525400ABCDEF", "52:54:00:AB:cd:EF",
	} {
		if got, err := ParseMAC(s); got != want || err != nil {
			t.Errorf("ParseMAC(%q) = %q, %v; want %q", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "52:54:00:ab:cd", "52:54:00:ab:cd:ef:01", "52:54:00-ab:cd:ef", "52 54 00 ab cd ef", "g2:54:00:ab:cd:ef",
		"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "5:54:00:ab:cd:ef1", "5254:00ab:cdef",
		"52:54:00:ab:cd:e\n", "５２:54:00:ab:c", strings.Repeat("a", 1<<16), ":::::::::::::::::",
	} {
		if got, err := ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%.40q) = %q, nil; want an error", s, got)
		}
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("52:54:00:ab:cd:ef")
	f.Add("5254.00ab.cdef")
	f.Add("................")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(got); again != got || err != nil || len(got) != 17 {
			t.Errorf("ParseMAC(%q) = %q; again %q, %v", s, got, again, err)
		}
	})
}
