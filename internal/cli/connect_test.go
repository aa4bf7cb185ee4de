package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/cli/exit"
)

// The admin token crosses a network by TLS or not at all; to this host it may
// go as it is.
func TestTokenIsNotSentInTheClear(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("gild-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]int{
		"http://192.0.2.1:8081":      exit.CodeUsage,
		"http://gild.example:8081":   exit.CodeUsage,
		"http://localhost.evil:8081": exit.CodeUsage,
		"http://[2001:db8::1]:8081":  exit.CodeUsage,
		"http://127.0.0.1:1":         exit.CodeNoServer,
		"http://localhost:1":         exit.CodeNoServer,
		"http://[::1]:1":             exit.CodeNoServer,
		"https://127.0.0.1:1":        exit.CodeNoServer,
	} {
		got := gild(t, t.TempDir(), nil, "--server", url, "--token-file", file, "machine", "ls")
		if got.code != want || want == exit.CodeUsage && !strings.Contains(got.stderr, "in the clear") || strings.Contains(got.stderr, "secret") {
			t.Errorf("%s: %+v; want exit %d", url, got, want)
		}
	}
}
