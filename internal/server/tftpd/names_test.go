package tftpd

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestSpellings(t *testing.T) {
	const name = "undionly.kpxe"
	for _, asked := range []string{
		name, "/" + name, "//" + name, "./" + name, `\` + name, "/./" + name, strings.ToUpper(name), "/tftpboot/" + name,
		`\tftpboot\` + name, "tftp://10.0.0.1/" + name, name + "\xff", name + "a\x11", name + "\xff\xff", name + `R"` + "\x01",
	} {
		if got := spellings(asked); !slices.Contains(got, name) {
			t.Errorf("spellings(%q) = %q; want %s among them", asked, got, name)
		}
	}
	for _, asked := range []string{"", "/", ".", "..", "../" + name, `..\` + name, "a/../" + name, name + "/", name + ".sig", "\xff"} {
		if got := spellings(asked); slices.Contains(got, name) {
			t.Errorf("spellings(%q) = %q; want not %s", asked, got, name)
		}
	}
}

func FuzzSpellings(f *testing.F) {
	f.Add("undionly.kpxea\x11")
	f.Add(`tftp://x\..\y`)
	f.Fuzz(func(t *testing.T, asked string) {
		all := spellings(asked)
		for _, s := range all {
			if !fs.ValidPath(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
				t.Errorf("spellings(%q) has %q", asked, s)
			}
		}
		if len(all) > 9 {
			t.Errorf("spellings(%q) are %d", asked, len(all))
		}
	})
}
