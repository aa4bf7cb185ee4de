// Command gild-init is /init of gild's initramfs.
package main

import (
	"fmt"
	"os"

	"github.com/gild-dev/gild/internal/agent"
)

func main() {
	fmt.Fprintln(os.Stderr, "gild-init:", agent.Run())
	os.Exit(1)
}
