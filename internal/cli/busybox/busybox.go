// Package busybox finds the programs of a rescue shell.
package busybox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server/bootspec"
)

// busyboxPaths are where distributions put their static busybox.
var busyboxPaths = []string{"/bin/busybox", "/usr/bin/busybox", "/usr/lib/initramfs-tools/bin/busybox", "/bin/busybox.static"}

// Find takes the distribution's static busybox and asks it for its
// applets.
func Find() (*bootspec.Busybox, error) {
	for _, path := range busyboxPaths {
		p, err := os.ReadFile(path)
		// A dynamic one names its loader, which the initramfs does not have.
		if err != nil || bytes.Contains(p[:min(len(p), 4096)], []byte("/ld-")) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		list, err := exec.CommandContext(ctx, path, "--list").Output()
		if err != nil {
			return nil, fmt.Errorf("asking %s for its applets: %w", path, err)
		}
		b := &bootspec.Busybox{Program: p}
		for s := bufio.NewScanner(bytes.NewReader(list)); s.Scan(); {
			if name := strings.TrimSpace(s.Text()); name != "" && name != "busybox" {
				b.Applets = append(b.Applets, name)
			}
		}
		return b, nil
	}
	return nil, exit.Hint(errors.New("no static busybox found for the rescue shell"), "apt-get install busybox-static")
}
