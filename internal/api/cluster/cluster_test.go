package cluster

import "testing"

func TestOpenRefuses(t *testing.T) {
	for _, base := range []string{
		"", "10.0.0.1", "10.0.0.1:80", "ftp://x", "http://", "http://u:p@x", "http://x?y", "http://x:\x00",
		"http://[::1",
	} {
		if _, err := Open(base); err == nil {
			t.Errorf("Open(%q) = nil error; want one", base)
		}
	}
}
