package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The admin token crosses a network by TLS or not at all; to this host it may
// go as it is.
func TestTokenIsNotSentInTheClear(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("gild-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{
		"http://192.0.2.1:8081":      ExitUsage,
		"http://gild.example:8081":   ExitUsage,
		"http://localhost.evil:8081": ExitUsage,
		"http://[2001:db8::1]:8081":  ExitUsage,
		"http://127.0.0.1:1":         ExitNoServer,
		"http://localhost:1":         ExitNoServer,
		"http://[::1]:1":             ExitNoServer,
		"https://127.0.0.1:1":        ExitNoServer,
	} {
		got := gild(t, t.TempDir(), nil, "--server", url, "--token-file", file, "machine", "ls")
		if got.code != want || want == ExitUsage && !strings.Contains(got.stderr, "in the clear") || strings.Contains(got.stderr, "secret") {
			t.Errorf("%s: %+v; want exit %d", url, got, want)
		}
	}
}
