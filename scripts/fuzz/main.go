// Fuzz runs every fuzz target of the module for a while, one after another:
// `go test -fuzz` takes one target of one package at a time.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 20*time.Second, "how long each target runs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *each); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, each time.Duration) error {
	out, err := exec.CommandContext(ctx, "go", "list", "./...").Output()
	if err != nil {
		return fmt.Errorf("listing packages: %w", err)
	}
	var failed []string
	for pkg := range strings.FieldsSeq(string(out)) {
		listed, err := exec.CommandContext(ctx, "go", "test", "-list", "^Fuzz", pkg).Output()
		if err != nil {
			return fmt.Errorf("listing the fuzz targets of %s: %w", pkg, err)
		}
		for line := range bytes.Lines(listed) {
			target := strings.TrimSpace(string(line))
			if !strings.HasPrefix(target, "Fuzz") {
				continue
			}
			fmt.Printf("%s %s\n", pkg, target)
			cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", each.String(),
				// The default of 60 s lets the minimiser eat the whole run.
				"-fuzzminimizetime", "5x", pkg)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				failed = append(failed, pkg+" "+target)
			}
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("these targets failed:\n%s", strings.Join(failed, "\n"))
	}
	return nil
}
