package bootline

import (
	"strings"
	"testing"
)

// What Check lets through, Join lets through with the server's words; what it
// refuses is refused or would be cut.
func TestCheck(t *testing.T) {
	server := "gild.server=" + strings.Repeat("s", Own-len("gild.server=")-1)
	for image, ok := range map[string]bool{
		"root=UUID=1 ro quiet":                true,
		"":                                    true,
		`dyndbg="file a.c +p"`:                true,
		"memmap=16M$0x10000000":               false,
		"a=${net0/mac}":                       false,
		"initrd=$x root=/dev/sda1":            true, // no kernel gets that word
		strings.Repeat("a ", (Max-Own)/2):     true,
		strings.Repeat("a ", (Max-Own)/2+1):   false,
		"root=LABEL=wörter":                   false,
		"systemd.unit=a;b":                    false,
		"console=ttyS0,115200n8 init=/bin/sh": true,
	} {
		err := Check(image)
		if (err == nil) != ok {
			t.Errorf("Check(%.40q) = %v; want %v", image, err, ok)
		}
		if _, err := Join(append([]string{server}, Words(image)...)); ok && err != nil {
			t.Errorf("Check lets %.40q through; Join: %v", image, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("root=UUID=1 ro memmap=16M$0x10000000")
	f.Fuzz(func(t *testing.T, image string) {
		if Check(image) != nil {
			return
		}
		line, err := Join(Words(image))
		if err != nil || len(line) > Max-Own || strings.ContainsAny(line, "$;&|#{}\n\x00") {
			t.Errorf("%q passes as %q, %v", image, line, err)
		}
	})
}
