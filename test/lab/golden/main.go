// Command golden builds a golden Debian image, to try gild with or to show it.
//
//	go run ./test/lab/golden -spec xfs-bios -o debian.raw
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var names []string
	for _, spec := range images.Specs() {
		names = append(names, spec.Name)
	}
	flags := flag.NewFlagSet("golden", flag.ContinueOnError)
	name := flags.String("spec", names[0], "layout: "+strings.Join(names, ", "))
	lean := flags.Bool("lean", false, "without the drivers that no virtual machine needs, as the tests have it")
	output := flags.String("o", "", "copy the image to this file; without it, only its path in the cache is printed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cache, err := host.Cache()
	if err != nil {
		return err
	}
	builder := images.Builder{Cache: cache, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	for _, spec := range images.Specs() {
		if spec.Name != *name {
			continue
		}
		if *lean {
			spec = spec.Lean()
		}
		path, err := builder.Golden(ctx, spec)
		if err != nil {
			return err
		}
		if *output == "" {
			fmt.Println(path)
			return nil
		}
		// cp keeps the holes, which are more than half of the image.
		if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", path, *output).CombinedOutput(); err != nil {
			return fmt.Errorf("copy to %s: %w: %s", *output, err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	return fmt.Errorf("no layout %q: there are %s", *name, strings.Join(names, ", "))
}
