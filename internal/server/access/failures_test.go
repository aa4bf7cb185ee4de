package access

import (
	"fmt"
	"testing"
	"time"
)

func TestFailuresBounded(t *testing.T) {
	var f failures
	now := time.Now()
	for i := range 3 * maxFailing {
		f.note(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>8, i&255), now)
	}
	if len(f.by) > maxFailing {
		t.Errorf("%d addresses are kept; want at most %d", len(f.by), maxFailing)
	}
	for i := range maxFailures {
		f.note(fmt.Sprintf("[2001:db8::%x]:1", i), now)
	}
	if f.allow("[2001:db8::ffff]:9", now) {
		t.Error("another address of the same /64 may go on")
	}
}

func TestLocalPath(t *testing.T) {
	for in, want := range map[string]string{
		"/machines/x?a=b": "/machines/x?a=b", "": "/", "//evil.example/": "/", "/\\evil.example": "/",
		"https://evil.example/": "/", "javascript:alert(1)": "/", "/\t/evil.example": "/", "x": "/", "/%2f/evil": "/",
	} {
		if got := localPath(in); got != want {
			t.Errorf("localPath(%q) = %q; want %q", in, got, want)
		}
	}
}
