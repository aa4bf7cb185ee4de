package golden

import (
	"strings"
	"testing"
)

func TestCheckRepository(t *testing.T) {
	for name, ok := range map[string]bool{
		"golden/debian-12": true, "a": true, "a/b_c.d/e": true, "": false, "/a": false, "a/": false, "a//b": false, "../a": false,
		"a/../b": false,
		"a..b":   false, "A": false, "a b": false, "a?b": false, "a%2f": false, strings.Repeat("a", 256): false,
	} {
		if err := CheckRepository(name); (err == nil) != ok {
			t.Errorf("CheckRepository(%.20q) = %v; want ok %v", name, err, ok)
		}
	}
}

func TestCheckReference(t *testing.T) {
	for reference, ok := range map[string]bool{
		"latest": true, "12.5_b-1": true, "_": true, "sha256:" + strings.Repeat("a", 64): true,
		"": false, ".a": false, "-a": false, "a/b": false, "a:b": false, "a b": false, "sha256:aa": false, strings.Repeat("a", 129): false,
	} {
		if err := CheckReference(reference); (err == nil) != ok {
			t.Errorf("CheckReference(%.20q) = %v; want ok %v", reference, err, ok)
		}
	}
}
