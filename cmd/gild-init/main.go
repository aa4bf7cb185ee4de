// Command gild-init is /init of gild's initramfs.
package main

import (
	"fmt"
	"os"

	"github.com/gild-dev/gild/internal/agent"
)

func main() {
	if err := agent.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "gild-init:", err)
		os.Exit(1)
	}
}
