// Package host is the machine that whole-boot tests run on: what it can do,
// where it keeps what was built once.
package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

// Need skips the test unless it runs as root with these programs in PATH.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	tier.Root(t, "needs root: for loop devices, chroot and network namespaces")
	if err := LookAll(programs); err != nil {
		t.Skip(err)
	}
}

// LookAll reports every absent program at once, so that one installation mends
// all.
func LookAll(programs []string) error {
	var absent []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			absent = append(absent, program)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("programs not found: %s: scripts/deps test installs what the tests need", strings.Join(absent, ", "))
	}
	return nil
}

// Program is what make build leaves, for the tests of a folder in test.
func Program(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/gild")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("the program under test is not built: make build (%v)", err)
	}
	return path
}

// Cache is where built images are kept: $GILD_CACHE, else $XDG_CACHE_HOME/gild,
// else /var/cache/gild for root and .cache/gild in the home directory for
// others.
func Cache() (string, error) {
	if dir := os.Getenv("GILD_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "gild"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/gild", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory: %w: set GILD_CACHE", err)
	}
	return filepath.Join(dir, "gild"), nil
}

// IsThere reports whether something is at a path.
func IsThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
