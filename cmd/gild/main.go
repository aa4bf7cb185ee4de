// Gild writes golden disk images to bare machines over the network.
//
// It starts the new system without a reboot. This is the server and the
// operator's tool in one binary; see `gild help`.
package main

import (
	"context"
	"os"

	"github.com/gild-dev/gild/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Host()))
}
